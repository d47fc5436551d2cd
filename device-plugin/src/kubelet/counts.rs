//! Counts of the calls between the kubelet and each resource.

use std::collections::BTreeMap;

use sriov_config::resource_list::ResourceName;
use sriov_node::counts::{Histogram, Shared};

/// The counts of all resources.
pub(crate) type KubeletCounts = BTreeMap<ResourceName, ResourceCounts>;

/// The counts of all resources; shared.
#[derive(Debug, Default)]
pub(crate) struct SharedKubeletCounts(Shared<KubeletCounts>);

/// The counts of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourceCounts {
    /// Allocations by gRPC code.
    pub(crate) allocations: BTreeMap<&'static str, u64>,
    /// Time of all allocations.
    pub(crate) allocate_time: Histogram,
    /// Registrations that the kubelet accepted.
    pub(crate) accepted: u64,
    /// Registrations that the kubelet refused.
    pub(crate) refused: u64,
    /// Registrations that did not reach the kubelet, or that it did not answer.
    pub(crate) failed: u64,
    /// Containers that started with a device that they may not be able to use.
    pub(crate) pre_start_findings: u64,
    /// ListAndWatch streams that are open.
    pub(crate) streams: u64,
    /// ListAndWatch responses that were sent.
    pub(crate) lists: u64,
}

impl SharedKubeletCounts {
    /// Changes the counts of a resource.
    pub(crate) fn of(&self, resource: &ResourceName, change: impl FnOnce(&mut ResourceCounts)) {
        self.0.count(|resources| {
            if !resources.contains_key(resource) {
                resources.insert(resource.clone(), ResourceCounts::default());
            }
            resources.get_mut(resource).map(change);
        });
    }

    /// Changes the counts of a resource, unless they were removed.
    pub(crate) fn of_existing(
        &self,
        resource: &ResourceName,
        change: impl FnOnce(&mut ResourceCounts),
    ) {
        self.0.count(|resources| {
            resources.get_mut(resource).map(change);
        });
    }

    /// Removes the counts of a resource that left the configuration.
    pub(crate) fn remove(&self, resource: &ResourceName) {
        self.0.count(|resources| resources.remove(resource));
    }

    /// The counts as they are.
    pub(crate) fn now(&self) -> KubeletCounts {
        self.0.now()
    }
}
