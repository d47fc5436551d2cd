//! The families of the VFs: their traffic, their pools and the containers that hold them, also under the names of `sriov-network-metrics-exporter`.

use std::collections::BTreeMap;

use sriov_config::resource_list::ResourceName;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Holder, Owners, PodHolder};
use sriov_inventory::pool::Pools;

use super::text_format::{Family, Kind, Text};
use super::vf_traffic::VfTraffic;

const VF_INFO: Family = Family::gauge(
    "sriov_vf_info",
    "A VF and the pool that it is in, always 1.",
);
const POD_DEVICE: Family = Family::gauge(
    "sriov_kubepoddevice",
    "A device and the container that holds it, always 1; the name is that of sriov-network-metrics-exporter.",
);

/// The families of this file, in the order of the page.
pub const FAMILIES: &[Family] = &[VF_INFO, POD_DEVICE];

/// Counters of a VF: the kernel's name, ours, and that of `sriov-network-metrics-exporter` with the same value.
pub const VF_COUNTERS: &[(&str, &str, &str)] = &[
    (
        "rx_bytes",
        "sriov_vf_receive_bytes_total",
        "sriov_vf_rx_bytes",
    ),
    (
        "tx_bytes",
        "sriov_vf_transmit_bytes_total",
        "sriov_vf_tx_bytes",
    ),
    (
        "rx_packets",
        "sriov_vf_receive_packets_total",
        "sriov_vf_rx_packets",
    ),
    (
        "tx_packets",
        "sriov_vf_transmit_packets_total",
        "sriov_vf_tx_packets",
    ),
    (
        "rx_dropped",
        "sriov_vf_receive_dropped_total",
        "sriov_vf_rx_dropped",
    ),
    (
        "tx_dropped",
        "sriov_vf_transmit_dropped_total",
        "sriov_vf_tx_dropped",
    ),
    (
        "rx_broadcast",
        "sriov_vf_receive_broadcast_total",
        "sriov_vf_rx_broadcast",
    ),
    (
        "rx_multicast",
        "sriov_vf_receive_multicast_total",
        "sriov_vf_rx_multicast",
    ),
    (
        "tx_errors",
        "sriov_vf_transmit_errors_total",
        "sriov_vf_tx_errors",
    ),
];

/// The values that the families show.
#[derive(Clone, Copy, Debug)]
pub struct VfState<'a> {
    /// The pools.
    pub pools: &'a Pools,
    /// Who holds which device.
    pub owners: &'a Owners,
    /// The traffic of the VFs.
    pub traffic: &'a [VfTraffic],
    /// Whether the names of `sriov-network-metrics-exporter` are exported as well.
    pub has_exporter_names: bool,
}

/// All names of this file.
pub fn names() -> impl Iterator<Item = &'static str> {
    let families = FAMILIES.iter().map(|family| family.name);
    let counters = VF_COUNTERS.iter();
    families.chain(counters.flat_map(|(_, name, alias)| [*name, *alias]))
}

/// A VF of a pool.
struct Place<'a> {
    id: &'a DeviceId,
    resource: &'a ResourceName,
    driver: &'a str,
}

/// Writes the families of the VFs.
pub fn write(text: &mut Text, state: &VfState<'_>) {
    let mut places: BTreeMap<String, Place<'_>> = BTreeMap::new();
    for pool in &state.pools.pools {
        for device in pool.devices.iter() {
            if let Some(address) = device.id.address() {
                let place = Place {
                    id: &device.id,
                    resource: &pool.name,
                    driver: &device.driver,
                };
                places.insert(address.to_string(), place);
            }
        }
    }
    text.family(&VF_INFO);
    for vf in state.traffic {
        let place = places.get(&vf.address);
        let resource = place.map(|place| place.resource.to_string());
        let labels = [
            ("pf", vf.pf.as_str()),
            ("vf", &vf.index.to_string()),
            ("pci_address", &vf.address),
            ("numa_node", &numa(vf)),
            ("driver", place.map_or("", |place| place.driver)),
            ("resource", resource.as_deref().unwrap_or_default()),
        ];
        text.sample(VF_INFO.name, &labels, 1);
    }
    if state.has_exporter_names {
        text.family(&POD_DEVICE);
    }
    for (address, place) in places.iter().filter(|_| state.has_exporter_names) {
        for holder in pods(state.owners, place.id) {
            let labels = [
                ("pciAddr", address.as_str()),
                ("dev_type", &holder.resource),
                ("namespace", &holder.namespace),
                ("pod", &holder.pod),
                ("container", &holder.container),
            ];
            text.sample(POD_DEVICE.name, &labels, 1);
        }
    }
    for (counter, name, alias) in VF_COUNTERS {
        traffic(text, state, counter, name, alias);
    }
}

/// One counter of all VFs under both names.
fn traffic(
    text: &mut Text,
    state: &VfState<'_>,
    counter: &str,
    name: &'static str,
    alias: &'static str,
) {
    let vfs = state.traffic.iter();
    let values = vfs.filter_map(|vf| Some((vf, *vf.counters.get(counter)?)));
    text.family(&of_vf(
        name,
        "Traffic of a VF with the container that holds it.",
    ));
    for (vf, value) in values.clone() {
        let id = vf.address.parse().ok();
        // The first container: a second one is in the same pod.
        let holder = id.and_then(|id| pods(state.owners, &id).next().cloned());
        let label = |part: fn(&PodHolder) -> &str| holder.as_ref().map_or("", part);
        let labels = [
            ("pf", vf.pf.as_str()),
            ("vf", &vf.index.to_string()),
            ("pci_address", &vf.address),
            ("numa_node", &numa(vf)),
            ("namespace", label(|holder| &holder.namespace)),
            ("pod", label(|holder| &holder.pod)),
            ("container", label(|holder| &holder.container)),
        ];
        text.sample(name, &labels, value);
    }
    if !state.has_exporter_names {
        return;
    }
    text.family(&of_vf(
        alias,
        "The same under the name of sriov-network-metrics-exporter.",
    ));
    for (vf, value) in values {
        let labels = [
            ("pf", vf.pf.as_str()),
            ("vf", &vf.index.to_string()),
            ("pciAddr", &vf.address),
            ("numa_node", &numa(vf)),
        ];
        text.sample(alias, &labels, value);
    }
}

fn numa(vf: &VfTraffic) -> String {
    let node = vf.numa_node.map(|node| node.to_string());
    node.unwrap_or_default()
}

/// The containers that hold a device.
fn pods<'a>(owners: &'a Owners, id: &'a DeviceId) -> impl Iterator<Item = &'a PodHolder> {
    owners.holders(id).filter_map(Holder::pod)
}

fn of_vf(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        help,
    }
}
