//! The resources that plugins registered at the double, with every list that they sent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sriov_device_plugin::proto::v1beta1::Device;

/// A registered resource.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Socket of the plugin.
    pub socket: PathBuf,
    /// Every list, oldest first.
    pub lists: Vec<Vec<Device>>,
    /// Whether a container waits for `PreStartContainer`, according to the registration or the options.
    pub is_pre_start_required: bool,
    /// Number of registrations.
    pub registrations: usize,
}

impl Resource {
    /// The ids of the newest list.
    pub fn ids(&self) -> Vec<String> {
        self.lists
            .last()
            .into_iter()
            .flatten()
            .map(|device| device.id.clone())
            .collect()
    }
}

/// All resources, by name.
pub type Resources = BTreeMap<String, Resource>;
