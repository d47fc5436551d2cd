//! Distributes devices over slices: by PF, so that a change of one PF is a change of one slice; in the order in which they should be allocated.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::resource_list::{AllocationPolicy, ResourceName};
use sriov_host::PciAddress;
use sriov_host::stable_hash::stable_hash;
use sriov_inventory::pool::PoolDevice;

use super::device::{Content, Device, Group, MOST_DEVICES, SliceKey};

/// The NUMA node of devices that have none comes last.
const NO_NODE: u8 = 0xff;

/// A device with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) group: Group,
    /// Number of its part, when the group has stable parts.
    pub(super) part: usize,
    /// Order within the group.
    pub(super) rank: usize,
    pub(super) device: Arc<Device>,
}

/// The group of a device: its PF, its resource when that spreads over PFs, or the devices without PF.
///
/// The first digit is the kind, then the NUMA node, then the PF or a hash of the resource.
pub(super) fn group(
    resource: &ResourceName,
    policy: AllocationPolicy,
    device: &PoolDevice,
) -> Group {
    let node = device.numa_node.and_then(|node| u8::try_from(node).ok());
    let node = node.unwrap_or(NO_NODE);
    match (policy, device.pf_address()) {
        (AllocationPolicy::Packed, Some(pf)) => Group(format!("0{node:02x}{}", digits(pf))),
        (AllocationPolicy::Packed, None) => Group(format!("1{node:02x}{:012x}", 0)),
        (AllocationPolicy::Spread | AllocationPolicy::DistinctPf, _) => {
            let hash = stable_hash(resource.to_string().as_bytes()) & 0xffff_ffff_ffff;
            Group(format!("2{NO_NODE:02x}{hash:012x}"))
        }
    }
}

/// Twelve hexadecimal digits that order addresses as numbers.
fn digits(address: PciAddress) -> String {
    let function = (address.device() << 3) | address.function();
    format!(
        "{:08x}{:02x}{function:02x}",
        address.domain(),
        address.bus()
    )
}

/// The part of a VF by its index: VFs that are added or removed do not move the others.
pub(super) fn part_of(device: &PoolDevice, policy: AllocationPolicy) -> usize {
    let index = device.vf_index.map(|index| usize::from(index.get()));
    match policy {
        AllocationPolicy::Packed => index.unwrap_or(0) / MOST_DEVICES,
        AllocationPolicy::Spread | AllocationPolicy::DistinctPf => 0,
    }
}

/// Divides the devices into slices of at most 64; a node without devices has one empty slice.
pub(super) fn slices(placed: Vec<Placed>) -> BTreeMap<SliceKey, Content> {
    let mut parts: BTreeMap<(Group, usize), Vec<Placed>> = BTreeMap::new();
    for one in placed {
        let place = (one.group.clone(), one.part);
        parts.entry(place).or_default().push(one);
    }
    let mut slices: BTreeMap<SliceKey, Content> = BTreeMap::new();
    for ((group, part), mut devices) in parts {
        devices.sort_by(|a, b| (a.rank, &a.device.name).cmp(&(b.rank, &b.device.name)));
        let mut part = part;
        for chunk in devices.chunks(MOST_DEVICES) {
            // More than 64 devices of one part continue in the next free ones.
            while slices.contains_key(&SliceKey::new(&group, part)) {
                part += 1;
            }
            let content = chunk.iter().map(|one| Arc::clone(&one.device)).collect();
            slices.insert(SliceKey::new(&group, part), Arc::new(content));
        }
    }
    if slices.is_empty() {
        slices.insert(SliceKey::empty(), Content::default());
    }
    slices
}

/// Ranks that take one device of each PF in turn.
pub(super) fn interleaved<'a>(devices: impl Iterator<Item = &'a PoolDevice>) -> Vec<usize> {
    let mut taken: BTreeMap<Option<PciAddress>, usize> = BTreeMap::new();
    let turn = devices.map(|device| {
        let turn = taken.entry(device.pf_address()).or_default();
        *turn += 1;
        *turn
    });
    turn.collect()
}
