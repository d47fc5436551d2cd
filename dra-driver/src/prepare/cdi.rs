//! The CDI specification of a claim: one device for each of its devices, with environment, device nodes and the metadata file. Pure.
//!
//! A name is never used for other edits: it has the UID of the claim, and runtimes keep what they have read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sriov_config::resource_list::ResourceName;
use sriov_node::grant::granted::{Granted, environment};

use super::metadata::container_path;
use super::paths::Paths;
use super::variables::of_nodes;
use crate::state::{ClaimState, DeviceState};

/// The lowest version with `hostPath` and names that begin with a digit.
const VERSION: &str = "0.5.0";
/// Prefix of the variables that name the devices of one request.
const REQUEST_VARIABLE: &str = "SRIOV_REQUEST_";

/// The qualified name of a device of a claim.
pub(super) fn name(paths: &Paths, state: &ClaimState, device: &DeviceState) -> String {
    format!("{}={}", kind(paths), short_name(state, device))
}

fn kind(paths: &Paths) -> String {
    format!("{}/claim", paths.driver)
}

fn short_name(state: &ClaimState, device: &DeviceState) -> String {
    format!("{}-{}", state.claim.uid, device.name)
}

/// The specification.
pub(super) fn specification(paths: &Paths, state: &ClaimState) -> Value {
    let device = |device| {
        json!({
            "name": short_name(state, device),
            "containerEdits": edits(paths, state, device),
        })
    };
    let devices: Vec<Value> = state.devices.iter().map(device).collect();
    json!({ "cdiVersion": VERSION, "kind": kind(paths), "devices": devices })
}

fn edits(paths: &Paths, state: &ClaimState, device: &DeviceState) -> Value {
    let variables = variables(state, device).into_iter();
    let env: Vec<String> = variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let source = paths.metadata_file(&state.claim, &device.request);
    let target = container_path(&paths.driver, state, &device.request);
    let mut edits = json!({ "env": env, "mounts": [mount(&source, &target)] });
    let nodes: Vec<Value> = device.share.nodes.iter().map(node).collect();
    if let (false, Some(edits)) = (nodes.is_empty(), edits.as_object_mut()) {
        edits.insert("deviceNodes".to_owned(), nodes.into());
    }
    edits
}

fn mount(source: &Path, target: &str) -> Value {
    json!({ "hostPath": source, "containerPath": target, "options": ["ro", "nosuid", "nodev", "noexec", "bind"] })
}

fn node((host, container): &(String, String)) -> Value {
    let mut node = json!({ "path": container, "permissions": "rw" });
    if let (true, Some(fields)) = (host != container, node.as_object_mut()) {
        fields.insert("hostPath".to_owned(), json!(host));
    }
    node
}

/// The variables of a container with this device.
///
/// The runtime applies the edits of all devices of a container, one after the other, and the last value of a variable wins.
/// So each device names all devices that its containers have of the resource: those of its request, or, where several requests of the claim
/// are of one resource, those of the claim, as most containers name the whole claim. In a claim for extended resources, each request is of one container.
fn variables(state: &ClaimState, device: &DeviceState) -> BTreeMap<String, String> {
    let of_resource = |other: &&DeviceState| {
        other.resource == device.resource && (!state.is_extended || other.request == device.request)
    };
    let granted: Vec<Granted> = state
        .devices
        .iter()
        .filter(of_resource)
        .filter_map(granted)
        .collect();
    let resource = device.resource.split_once('/');
    let resource = resource.and_then(|(prefix, name)| ResourceName::new(prefix, name).ok());
    let variables = resource.map(|resource| environment(&resource, &granted));
    let mut variables = variables.unwrap_or_default();
    let of_request = state
        .devices
        .iter()
        .filter(|other| other.request == device.request);
    let ids: Vec<&str> = of_request.map(|other| other.id.as_str()).collect();
    let request = device.request.to_ascii_uppercase().replace(['-', '.'], "_");
    variables.insert(format!("{REQUEST_VARIABLE}{request}"), ids.join(","));
    variables.extend(of_nodes(device));
    variables.extend(device.env.clone());
    variables
}

fn granted(device: &DeviceState) -> Option<Granted> {
    Some(Granted {
        id: device.id.parse().ok()?,
        providers: device.share.providers.clone(),
        nodes: Vec::new(),
        cdi_name: None,
    })
}
