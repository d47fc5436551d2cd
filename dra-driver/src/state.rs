//! Prepared claims on disk: one versioned file for each claim below the driver's directory, and the lock of both instances of a rolling update.
//!
//! A file exists from before the first change to the node until the last change is undone, so a repeated call needs nothing else.

mod error;
mod lock;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sriov_device_info::DeviceInfo;
use sriov_device_info::claims::{ClaimRef, NetworkRef, PodRef, Rebound};
use sriov_host::IfName;

pub(crate) use self::error::StateError;
pub(crate) use self::lock::SerializeLock;
pub(crate) use self::store::StateStore;

/// Version of the format; files of later versions are refused.
const FORMAT: u32 = 1;

/// A claim that is prepared, or is being prepared or unprepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClaimState {
    /// Whether all steps were done once.
    pub(crate) is_prepared: bool,
    pub(crate) claim: ClaimRef,
    pub(crate) pod: PodRef,
    /// The pod's name for a claim that was made from a template.
    pub(crate) pod_claim_name: Option<String>,
    /// Whether each request is of one container (KEP-5004).
    pub(crate) is_extended: bool,
    /// In the order of the allocation.
    pub(crate) devices: Vec<DeviceState>,
}

/// A device of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeviceState {
    pub(crate) request: String,
    pub(crate) pool: String,
    /// Name of the device in its slice.
    pub(crate) name: String,
    /// Its id on the node, for instance its PCI address.
    pub(crate) id: String,
    /// The resource whose pool it is in.
    pub(crate) resource: String,
    pub(crate) network: Option<NetworkRef>,
    pub(crate) ifname: Option<IfName>,
    /// Whether containers get `/dev/vhost-net` and `/dev/net/tun`, also if the resource does not say so.
    #[serde(default)]
    pub(crate) vhost_net: bool,
    /// The variables that the parameters add.
    pub(crate) env: BTreeMap<String, String>,
    /// The driver that the claim has bound to it, and the driver that it had before.
    pub(crate) rebound: Option<Rebound>,
    /// What a container gets for it, as of the newest look.
    pub(crate) share: ShareState,
}

/// What a container gets for a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareState {
    /// Facts for the environment, by provider and key.
    pub(crate) providers: Map<String, Value>,
    /// Device nodes, by path on the host and in the container.
    pub(crate) nodes: Vec<(String, String)>,
    /// The content of the device-info file; absent for a device that the specification does not describe.
    pub(crate) info: Option<DeviceInfo>,
}

#[cfg(test)]
pub(crate) mod examples;
#[cfg(test)]
mod tests;
