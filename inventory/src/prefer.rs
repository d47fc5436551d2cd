//! Chooses the devices that a container should get: on as few NUMA nodes as possible, and there by the policy of the resource.
//!
//! Devices of one PF on one node are alike, so the choice is how many of each PF; of each PF the lowest ids are taken.

use std::collections::{BTreeMap, BTreeSet};

use sriov_config::resources::AllocationPolicy;
use sriov_host::PciAddress;

use crate::pool::PoolDevice;

/// NUMA node and PF of a device; a device without PF counts as its own PF, an unknown device has neither.
type Place = (Option<u32>, Option<PciAddress>);

/// The devices of one place.
#[derive(Clone, Debug, Default)]
struct Group<'a> {
    /// Those that must be included.
    must: usize,
    /// The other available ones, sorted.
    free: Vec<&'a str>,
}

/// A choice within some NUMA nodes: its cost, then the ids.
type Choice<'a> = ((i64, i64), BTreeSet<&'a str>);

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
    let mut groups: BTreeMap<Place, Group<'_>> = BTreeMap::new();
    for id in &must {
        groups.entry(place(id)).or_default().must += 1;
    }
    for id in free.difference(&must) {
        groups.entry(place(id)).or_default().free.push(id);
    }
    let missing = size.saturating_sub(must.len());
    let best = fewest_nodes(&groups, missing)
        .into_iter()
        .map(|nodes| choose(&groups, &nodes, missing, policy))
        .min();
    let chosen = best.map(|(_, ids)| ids).unwrap_or_default();
    must.union(&chosen).map(|id| (*id).to_owned()).collect()
}

/// The smallest sets of NUMA nodes that hold what must be included and as many more as are missing.
fn fewest_nodes(groups: &BTreeMap<Place, Group<'_>>, missing: usize) -> Vec<BTreeSet<Option<u32>>> {
    let mut free: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    let mut fixed = BTreeSet::new();
    for ((node, _), group) in groups {
        *free.entry(*node).or_default() += group.free.len();
        if group.must > 0 {
            fixed.insert(*node);
        }
    }
    let wanted = missing.min(free.values().sum());
    let count = |node: &Option<u32>| free.get(node).copied().unwrap_or_default();
    let holds = |nodes: &BTreeSet<_>| nodes.iter().map(count).sum::<usize>() >= wanted;
    let mut sets = BTreeSet::from([fixed]);
    while !sets.iter().any(&holds) {
        let larger = sets.iter().flat_map(|set| {
            let others = free.keys().filter(|node| !set.contains(*node));
            others.map(|node| set.iter().chain([node]).copied().collect())
        });
        sets = larger.collect();
    }
    sets.into_iter().filter(holds).collect()
}

/// Chooses within some nodes, one device after the other; for each policy no other choice there is better.
fn choose<'a>(
    groups: &BTreeMap<Place, Group<'a>>,
    nodes: &BTreeSet<Option<u32>>,
    missing: usize,
    policy: AllocationPolicy,
) -> Choice<'a> {
    let mut left: Vec<Group<'a>> = groups
        .iter()
        .filter(|((node, _), _)| nodes.contains(node))
        .map(|(_, group)| group.clone())
        .collect();
    // Lowest ids first, from the end of the list.
    for group in &mut left {
        group.free.reverse();
    }
    let mut chosen = BTreeSet::new();
    for missing in (1..=missing).rev() {
        let candidates = left.iter_mut().filter(|group| !group.free.is_empty());
        let next = candidates.min_by_key(|group| {
            let (has, free) = (group.must, group.free.len());
            let rank = match policy {
                // Stay on a PF; then one that holds the rest with the least left over, else the largest.
                AllocationPolicy::Packed if has > 0 => (0, 0),
                AllocationPolicy::Packed if free >= missing => (1, signed(free)),
                AllocationPolicy::Packed => (2, -signed(free)),
                AllocationPolicy::Spread => (signed(has), -signed(free)),
                AllocationPolicy::DistinctPf => (signed(has.min(1)), signed(free)),
            };
            (rank, group.free.last().copied())
        });
        let Some(group) = next else { break };
        chosen.extend(group.free.pop());
        // It counts as chosen from here on.
        group.must += 1;
    }
    let used = left.iter().filter(|group| group.must > 0);
    let left_over = signed(used.clone().map(|group| group.free.len()).sum());
    let badness = match policy {
        AllocationPolicy::Packed => (signed(used.count()), left_over),
        AllocationPolicy::Spread => (
            signed(used.map(|group| group.must * group.must).sum()),
            -left_over,
        ),
        AllocationPolicy::DistinctPf => (-signed(used.count()), left_over),
    };
    (badness, chosen)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
