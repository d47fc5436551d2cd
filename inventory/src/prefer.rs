//! Chooses the devices that a container should get: on as few NUMA nodes as possible, and there by the policy of the resource.
//!
//! Devices of one PF on one node are alike, so the choice is how many of each PF; of each PF the lowest ids are taken.
//! `search` finds the best numbers.

mod search;

use std::collections::{BTreeMap, BTreeSet};

use sriov_config::resource_list::AllocationPolicy;
use sriov_host::PciAddress;

use self::search::{Group, Search};
use crate::pool::PoolDevice;

/// NUMA node and PF of a device; a device without PF counts as its own PF, an unknown device has neither.
type Place = (Option<u32>, Option<PciAddress>);

/// Chooses `size` of the available devices, sorted, among them all that must be included.
///
/// An impossible size returns all available devices; the kubelet then refuses by itself.
pub fn prefer(
    devices: &[PoolDevice],
    available: &[String],
    must: &[String],
    size: usize,
    policy: AllocationPolicy,
) -> Vec<String> {
    let places: BTreeMap<String, Place> = devices
        .iter()
        .map(|device| {
            let pf = device.pf_address().or(device.id.address());
            (device.id.to_string(), (device.numa_node, pf))
        })
        .collect();
    let place = |id: &str| places.get(id).copied().unwrap_or_default();
    let must: BTreeSet<&str> = must.iter().map(String::as_str).collect();
    let free: BTreeSet<&str> = available.iter().map(String::as_str).collect();
    let free: Vec<&str> = free.difference(&must).copied().collect();
    let mut nodes: BTreeMap<Option<u32>, BTreeMap<Option<PciAddress>, Group>> = BTreeMap::new();
    for id in &must {
        let (node, pf) = place(id);
        let groups = nodes.entry(node).or_default();
        groups.entry(pf).or_default().must += 1;
    }
    for (rank, id) in free.iter().enumerate() {
        let (node, pf) = place(id);
        let groups = nodes.entry(node).or_default();
        groups.entry(pf).or_default().free.push(rank);
    }
    let missing = size.saturating_sub(must.len());
    let mut search = Search::new(missing.min(free.len()), policy);
    for groups in nodes.into_values() {
        search.add_node(groups.into_values());
    }
    let ranks = search.into_best().unwrap_or_default();
    let chosen = ranks.iter().filter_map(|rank| free.get(*rank).copied());
    let chosen: BTreeSet<&str> = must.into_iter().chain(chosen).collect();
    chosen.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
