//! The page of `/metrics`; [`FAMILIES`] lists every family.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use sriov_config::resources::ResourceName;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Finding, Holder, Owners, PodHolder};
use sriov_inventory::pool::Pools;

use super::exposition::{Family, Kind, Text};
use super::process::Process;
use super::traffic::VfTraffic;
use crate::counts::{BUCKETS, Counts, Histogram, ResourceCounts};

/// Everything on the page.
#[derive(Clone, Debug)]
pub struct State<'a> {
    /// The pools.
    pub pools: &'a Pools,
    /// Who holds which device.
    pub owners: &'a Owners,
    /// The counts of this process.
    pub counts: &'a Counts,
    /// The traffic of the VFs.
    pub traffic: &'a [VfTraffic],
    /// Running tasks.
    pub tasks: usize,
    /// The process.
    pub process: Process,
    /// Whether the names of `sriov-network-metrics-exporter` are exported as well.
    pub has_exporter_names: bool,
    /// Whether `/readyz` answers 200.
    pub is_ready: bool,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal $help:literal;)+) => {
        $(const $constant: Family = Family { name: $name, kind: Kind::$kind, help: $help };)+
        /// Every family, in the order of the page; those of [`VF_COUNTERS`] follow.
        pub const FAMILIES: &[Family] = &[$($constant),+];
    };
}

families! {
    BUILD = Gauge "sriov_device_plugin_build_info" "Version of the device plugin, always 1.";
    READY = Gauge "sriov_device_plugin_ready" "1 when /readyz answers 200.";
    OUTDATED = Gauge "sriov_device_plugin_config_outdated" "1 when the configuration in use is older than the file.";
    CONFIG = Gauge "sriov_device_plugin_config_valid" "1 when the configuration that was read last is in use, all of it.";
    UNUSABLE = Gauge "sriov_device_plugin_resource_unusable" "1 for each resource of the configuration that was read last that has a mistake.";
    KUBELET = Gauge "sriov_device_plugin_pod_resources_up" "1 when the kubelet's pod resources answer.";
    DEVICES = Gauge "sriov_device_plugin_devices" "Devices in the lists for the kubelet.";
    HELD = Gauge "sriov_device_plugin_devices_held" "Devices that pods hold.";
    UNHEALTHY = Gauge "sriov_device_plugin_device_unhealthy" "1 for each device that no pod could use now, with the reason.";
    LEFT_OUT = Gauge "sriov_device_plugin_devices_left_out" "Devices of a served class that are in no pool, by reason.";
    FINDING = Gauge "sriov_device_plugin_device_finding" "1 for each device on which the kubelet and the CNI plugin disagree.";
    STREAMS = Gauge "sriov_device_plugin_list_streams" "Open ListAndWatch streams of the kubelet.";
    LISTS = Counter "sriov_device_plugin_lists_sent_total" "ListAndWatch responses that were sent to the kubelet.";
    REGISTRATIONS = Counter "sriov_device_plugin_registrations_total" "Registrations with the kubelet, by result.";
    ALLOCATIONS = Counter "sriov_device_plugin_allocations_total" "Allocations, by gRPC code.";
    PRE_START = Counter "sriov_device_plugin_pre_start_findings_total" "Calls of PreStartContainer for a device that the container may not be able to use.";
    ALLOCATE_TIME = Histogram "sriov_device_plugin_allocate_duration_seconds" "Time that allocations took.";
    SCAN_TIME = Histogram "sriov_device_plugin_scan_duration_seconds" "Time that scans of all devices took.";
    TASKS = Gauge "sriov_device_plugin_tasks" "Tasks that run in the process.";
    FAILED_SCANS = Counter "sriov_device_plugin_scan_failures_total" "Scans of all devices that failed.";
    CPU_TIME = Counter "process_cpu_seconds_total" "CPU time of the process in seconds.";
    MEMORY = Gauge "process_resident_memory_bytes" "Resident memory of the process.";
    VIRTUAL = Gauge "process_virtual_memory_bytes" "Virtual memory of the process.";
    THREADS = Gauge "process_threads" "Threads of the process.";
    DESCRIPTORS = Gauge "process_open_fds" "Open file descriptors of the process.";
    MAX_DESCRIPTORS = Gauge "process_max_fds" "Limit of open file descriptors.";
    STARTED = Gauge "process_start_time_seconds" "Start of the process, in seconds since 1970.";
    VF_INFO = Gauge "sriov_vf_info" "A VF and the pool that it is in, always 1.";
    POD_DEVICE = Gauge "sriov_kubepoddevice" "A device and the container that holds it, always 1; the name is that of sriov-network-metrics-exporter.";
}

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

/// Makes the page.
pub fn page(state: &State<'_>) -> String {
    let mut text = Text::default();
    let flag = |text: &mut Text, family: &Family, value: bool| {
        text.family(family);
        text.sample(family.name, &[], u8::from(value));
    };
    text.family(&BUILD);
    let version = env!("CARGO_PKG_VERSION");
    text.sample(BUILD.name, &[("version", version)], 1);
    flag(&mut text, &READY, state.is_ready);
    flag(&mut text, &OUTDATED, state.counts.config.is_outdated);
    flag(&mut text, &CONFIG, state.counts.config.is_valid);
    text.family(&UNUSABLE);
    for resource in &state.counts.unusable {
        text.sample(UNUSABLE.name, &[("resource", resource)], 1);
    }
    let is_up = state.owners.pods.is_some() && !state.owners.is_stale;
    flag(&mut text, &KUBELET, is_up);
    devices(&mut text, state);
    resources(&mut text, state.counts);
    text.family(&SCAN_TIME);
    histogram(&mut text, SCAN_TIME.name, &[], &state.counts.scans);
    text.family(&TASKS);
    text.sample(TASKS.name, &[], state.tasks);
    text.family(&FAILED_SCANS);
    text.sample(FAILED_SCANS.name, &[], state.counts.failed_scans);
    process(&mut text, &state.process);
    vfs(&mut text, state);
    text.into_string()
}

fn devices(text: &mut Text, state: &State<'_>) {
    let each = || state.pools.pools.iter();
    text.family(&DEVICES);
    for pool in each() {
        let resource = pool.name.to_string();
        text.sample(DEVICES.name, &[("resource", &resource)], pool.ids().len());
    }
    text.family(&HELD);
    for pool in each() {
        let resource = pool.name.to_string();
        let ids = pool.ids().into_iter();
        let held = ids.filter(|id| state.owners.is_held(id) == Some(true));
        text.sample(HELD.name, &[("resource", &resource)], held.count());
    }
    text.family(&UNHEALTHY);
    for pool in each() {
        let resource = pool.name.to_string();
        for (id, why) in &pool.unhealthy {
            let id = id.to_string();
            let labels = [
                ("resource", resource.as_str()),
                ("device", &id),
                ("reason", why.word()),
            ];
            text.sample(UNHEALTHY.name, &labels, 1);
        }
    }
    text.family(&LEFT_OUT);
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for why in state.pools.left_out.values() {
        *reasons.entry(why.word()).or_default() += 1;
    }
    for (reason, count) in reasons {
        text.sample(LEFT_OUT.name, &[("reason", reason)], count);
    }
    text.family(&FINDING);
    let devices = each().flat_map(|pool| pool.devices.iter());
    for address in devices.filter_map(|device| device.id.address()) {
        for finding in state.owners.findings(address) {
            let finding = match finding {
                Finding::Leaked => "leaked",
                Finding::HeldTwice => "held_twice",
                Finding::Dirty => "dirty",
            };
            let labels = [("pci_address", &*address.to_string()), ("finding", finding)];
            text.sample(FINDING.name, &labels, 1);
        }
    }
}

fn resources(text: &mut Text, counts: &Counts) {
    let resources = counts.resources.iter();
    let resources: Vec<(String, &ResourceCounts)> = resources
        .map(|(resource, counts)| (resource.to_string(), counts))
        .collect();
    text.family(&STREAMS);
    for (resource, counts) in &resources {
        text.sample(STREAMS.name, &[("resource", resource)], counts.streams);
    }
    text.family(&LISTS);
    for (resource, counts) in &resources {
        text.sample(LISTS.name, &[("resource", resource)], counts.lists);
    }
    text.family(&REGISTRATIONS);
    for (resource, counts) in &resources {
        for (result, count) in [("accepted", counts.accepted), ("refused", counts.refused)] {
            let labels = [("resource", resource.as_str()), ("result", result)];
            text.sample(REGISTRATIONS.name, &labels, count);
        }
    }
    text.family(&ALLOCATIONS);
    for (resource, counts) in &resources {
        for (code, count) in &counts.allocations {
            let labels = [("resource", resource.as_str()), ("code", code)];
            text.sample(ALLOCATIONS.name, &labels, count);
        }
    }
    text.family(&PRE_START);
    for (resource, counts) in &resources {
        let labels = [("resource", resource.as_str())];
        text.sample(PRE_START.name, &labels, counts.pre_start_findings);
    }
    text.family(&ALLOCATE_TIME);
    for (resource, counts) in &resources {
        let labels = [("resource", resource.as_str())];
        histogram(text, ALLOCATE_TIME.name, &labels, &counts.allocate_time);
    }
}

fn process(text: &mut Text, process: &Process) {
    single(text, &CPU_TIME, process.cpu_seconds);
    single(text, &MEMORY, process.resident);
    single(text, &VIRTUAL, process.virtual_memory);
    single(text, &THREADS, process.threads);
    single(text, &DESCRIPTORS, process.descriptors);
    single(text, &MAX_DESCRIPTORS, process.max_descriptors);
    single(text, &STARTED, process.started);
}

/// A family with one sample, or none while its value is not known.
fn single(text: &mut Text, family: &Family, value: Option<impl Display>) {
    text.family(family);
    if let Some(value) = value {
        text.sample(family.name, &[], value);
    }
}

/// A VF of a pool.
struct Place<'a> {
    id: &'a DeviceId,
    resource: &'a ResourceName,
    driver: &'a str,
}

fn vfs(text: &mut Text, state: &State<'_>) {
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
    state: &State<'_>,
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

fn histogram(text: &mut Text, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
    let bucket = format!("{name}_bucket");
    let mut sum = 0;
    for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
        sum += count;
        let bound = Duration::from_micros(*bound).as_secs_f64().to_string();
        let labels: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
        text.sample(&bucket, &labels, sum);
    }
    let labels_of_all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
    text.sample(&bucket, &labels_of_all, histogram.count);
    text.sample(&format!("{name}_sum"), labels, histogram.sum.as_secs_f64());
    text.sample(&format!("{name}_count"), labels, histogram.count);
}

#[cfg(test)]
mod tests;
