//! The families of the VFs: their traffic, their pools and the containers that hold them, also under the names of `sriov-network-metrics-exporter`.

use std::collections::BTreeMap;

use sriov_config::resource_list::ResourceName;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Holder, Owners, PodHolder};
use sriov_inventory::pool::Pools;

use super::text_format::{Family, Kind, Text};
use super::vf_counters::VF_COUNTERS;
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
    let rows = state.traffic.iter().map(|vf| row(vf, state.owners));
    let rows: Vec<Row<'_>> = rows.collect();
    for (counter, name, alias) in VF_COUNTERS {
        traffic(text, &rows, counter, name);
        if state.has_exporter_names {
            traffic_for_exporter(text, &rows, counter, alias);
        }
    }
}

/// A VF with the labels of all its samples, made once.
struct Row<'a> {
    vf: &'a VfTraffic,
    index: String,
    numa: String,
    /// The first container: a second one is in the same pod.
    holder: Option<&'a PodHolder>,
}

fn row<'a>(vf: &'a VfTraffic, owners: &'a Owners) -> Row<'a> {
    let id = vf.address.parse().ok();
    Row {
        vf,
        index: vf.index.to_string(),
        numa: numa(vf),
        holder: id.and_then(|id| pods(owners, &id).next()),
    }
}

/// The values of a counter, of the VFs that have it.
fn values<'a>(rows: &'a [Row<'a>], counter: &str) -> impl Iterator<Item = (&'a Row<'a>, u64)> {
    let value = move |row: &'a Row<'a>| Some((row, *row.vf.counters.get(counter)?));
    rows.iter().filter_map(value)
}

/// One counter of all VFs.
fn traffic(text: &mut Text, rows: &[Row<'_>], counter: &str, name: &'static str) {
    text.family(&of_vf(
        name,
        "Traffic of a VF with the container that holds it.",
    ));
    for (row, value) in values(rows, counter) {
        let label = |part: fn(&PodHolder) -> &str| row.holder.map_or("", part);
        let labels = [
            ("pf", row.vf.pf.as_str()),
            ("vf", &row.index),
            ("pci_address", &row.vf.address),
            ("numa_node", &row.numa),
            ("namespace", label(|holder| &holder.namespace)),
            ("pod", label(|holder| &holder.pod)),
            ("container", label(|holder| &holder.container)),
        ];
        text.sample(name, &labels, value);
    }
}

/// The same with the names and labels of `sriov-network-metrics-exporter`.
fn traffic_for_exporter(text: &mut Text, rows: &[Row<'_>], counter: &str, alias: &'static str) {
    text.family(&of_vf(
        alias,
        "The same under the name of sriov-network-metrics-exporter.",
    ));
    for (row, value) in values(rows, counter) {
        let labels = [
            ("pf", row.vf.pf.as_str()),
            ("vf", &row.index),
            ("pciAddr", &row.vf.address),
            ("numa_node", &row.numa),
        ];
        text.sample(alias, &labels, value);
    }
}

fn numa(vf: &VfTraffic) -> String {
    let node = vf.numa_node.map(|node| node.to_string());
    node.unwrap_or_default()
}

/// The containers that hold a device.
fn pods<'a>(owners: &'a Owners, id: &DeviceId) -> impl Iterator<Item = &'a PodHolder> {
    owners.holders(id).filter_map(Holder::pod)
}

fn of_vf(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        help,
    }
}
