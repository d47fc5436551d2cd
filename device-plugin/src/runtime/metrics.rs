//! The answers of the device plugin on `/metrics` and `/readyz`: the metrics of `sriov-node`, and counts of the calls of the kubelet.

use std::sync::Arc;

use sriov_host::HostRoot;
use sriov_host::snapshot::HostSnapshot;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::{Counts, Shared};
use sriov_node::http::server::Report;
use sriov_node::inventory_families;
use sriov_node::metrics::inventory::{InventoryFamilies, InventoryState};
use sriov_node::metrics::process::Process;
use sriov_node::metrics::text_format::{Family, Text};
use sriov_node::metrics::vf::{self, VfState};
use sriov_node::metrics::vf_traffic;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::readiness;
use crate::kubelet::counts::{KubeletCounts, SharedKubeletCounts};

const INVENTORY: InventoryFamilies = inventory_families!("sriov_device_plugin");

const STREAMS: Family = Family::gauge(
    "sriov_device_plugin_list_streams",
    "Open ListAndWatch streams of the kubelet.",
);
const LISTS: Family = Family::counter(
    "sriov_device_plugin_lists_sent_total",
    "ListAndWatch responses that were sent to the kubelet.",
);
const REGISTRATIONS: Family = Family::counter(
    "sriov_device_plugin_registrations_total",
    "Registrations with the kubelet, by result.",
);
const ALLOCATIONS: Family = Family::counter(
    "sriov_device_plugin_allocations_total",
    "Allocations, by gRPC code.",
);
const PRE_START: Family = Family::counter(
    "sriov_device_plugin_pre_start_findings_total",
    "Calls of PreStartContainer for a device that the container may not be able to use.",
);
const ALLOCATE_TIME: Family = Family::histogram(
    "sriov_device_plugin_allocate_duration_seconds",
    "Time that allocations took.",
);

/// The report of the endpoints, made at each request.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// The machine, for the counters of VFs.
    pub(super) host: HostRoot,
    pub(super) snapshot: watch::Receiver<Arc<HostSnapshot>>,
    pub(super) pools: watch::Receiver<Arc<Pools>>,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) counts: Arc<Shared<Counts>>,
    pub(super) kubelet: Arc<SharedKubeletCounts>,
    /// Whether the names of `sriov-network-metrics-exporter` are exported as well.
    pub(super) has_exporter_names: bool,
}

impl Report for Endpoints {
    fn missing(&self) -> Vec<String> {
        readiness::missing(
            &self.pools.borrow(),
            &self.owners.borrow(),
            &self.counts.now(),
            &self.kubelet.now(),
        )
    }

    /// Reads the counters of all VFs and makes the page.
    fn metrics(&self) -> String {
        let snapshot = self.snapshot.borrow().clone();
        let pools = self.pools.borrow().clone();
        let owners = self.owners.borrow().clone();
        page(&State {
            inventory: InventoryState {
                version: env!("CARGO_PKG_VERSION"),
                pools: &pools,
                owners: &owners,
                counts: &self.counts.now(),
                tasks: Handle::current().metrics().num_alive_tasks(),
                is_ready: self.missing().is_empty(),
            },
            kubelet: &self.kubelet.now(),
            process: Process::read(),
            vfs: VfState {
                pools: &pools,
                owners: &owners,
                traffic: &vf_traffic::read(&self.host, &snapshot, &pools),
                has_exporter_names: self.has_exporter_names,
            },
        })
    }
}

/// Everything on the page.
struct State<'a> {
    inventory: InventoryState<'a>,
    kubelet: &'a KubeletCounts,
    process: Process,
    vfs: VfState<'a>,
}

fn page(state: &State<'_>) -> String {
    let mut text = Text::default();
    INVENTORY.write(&mut text, &state.inventory);
    write_kubelet(&mut text, state.kubelet);
    state.process.write(&mut text);
    vf::write(&mut text, &state.vfs);
    text.into_string()
}

fn write_kubelet(text: &mut Text, counts: &KubeletCounts) {
    let resources = counts.iter();
    let resources: Vec<_> = resources
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
        for (result, count) in [
            ("accepted", counts.accepted),
            ("refused", counts.refused),
            ("failed", counts.failed),
        ] {
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
        text.histogram(ALLOCATE_TIME.name, &labels, &counts.allocate_time);
    }
}

#[cfg(test)]
mod tests;
