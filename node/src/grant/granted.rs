//! Granted devices, and what a container gets for all of them together.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sriov_config::resource_list::ResourceName;
use sriov_inventory::id::DeviceId;

use super::share::DeviceNode;

/// A granted device.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    /// The device.
    pub id: DeviceId,
    /// Facts about it for the environment, by provider and key.
    pub providers: Map<String, Value>,
    /// Device nodes that the caller passes on; empty when a CDI specification names them.
    pub nodes: Vec<DeviceNode>,
    /// Name of its CDI specification; absent without CDI, and for a device without nodes.
    pub cdi_name: Option<String>,
}

/// The environment of a container with these devices, in the order of the request.
pub fn environment(resource: &ResourceName, granted: &[Granted]) -> BTreeMap<String, String> {
    let mut info = Map::new();
    for device in granted {
        let providers = Value::Object(device.providers.clone());
        info.insert(device.id.to_string(), providers);
    }
    let ids: Vec<String> = granted.iter().map(|device| device.id.to_string()).collect();
    let variable = resource.variable();
    BTreeMap::from([
        (format!("{variable}_INFO"), Value::Object(info).to_string()),
        (variable, ids.join(",")),
    ])
}

/// The nodes of all devices, each once.
pub fn all_nodes(granted: &[Granted]) -> Vec<DeviceNode> {
    let mut all: Vec<DeviceNode> = Vec::new();
    for node in granted.iter().flat_map(|device| &device.nodes) {
        if !all.contains(node) {
            all.push(node.clone());
        }
    }
    all
}
