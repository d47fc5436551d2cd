//! A pool as the kubelet is served: its devices, and what only the kubelet's API has a use for.

use sriov_config::resource_list::{AllocationPolicy, Resource};
use sriov_inventory::pool::Pool;

/// A pool with the preferences of its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedPool {
    pub(crate) pool: Pool,
    pub(crate) preferences: Preferences,
}

/// The settings of a resource that only the kubelet has a use for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// Which devices the kubelet should prefer.
    pub(crate) allocation_policy: AllocationPolicy,
    /// Whether NUMA nodes are left out of the lists.
    pub(crate) exclude_topology: bool,
}

impl Preferences {
    /// The preferences of a resource.
    pub(crate) fn of(resource: &Resource) -> Self {
        Self {
            allocation_policy: resource.allocation_policy,
            exclude_topology: resource.exclude_topology,
        }
    }
}
