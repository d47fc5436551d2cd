//! What a front end reports to whoever refreshes the owners.

use sriov_config::resource_list::ResourceName;
use sriov_inventory::id::DeviceId;

/// An event after which the owners may be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Devices of a resource were granted.
    Allocated(ResourceName, Vec<DeviceId>),
    /// A list of devices was sent.
    Listed,
}
