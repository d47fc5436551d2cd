//! The page of `/metrics` and the answer of `/readyz`: the families of `sriov-node`, and those of the API server.

use std::sync::Arc;

use sriov_host::HostRoot;
use sriov_host::snapshot::HostSnapshot;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::{Counts, Shared};
use sriov_node::http::server::Report as HttpReport;
use sriov_node::inventory_families;
use sriov_node::metrics::inventory::{InventoryFamilies, InventoryState};
use sriov_node::metrics::process::Process;
use sriov_node::metrics::text_format::{Family, Text};
use sriov_node::metrics::vf::{self, VfState};
use sriov_node::metrics::vf_traffic;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::report::{Facts, Report};
use crate::api::observed::Observed;

const INVENTORY: InventoryFamilies = inventory_families!("sriov_dra");

const API: Family = Family::gauge(
    "sriov_dra_api_server_up",
    "1 when the last exchange with the API server succeeded.",
);
const TAINTS: Family = Family::gauge(
    "sriov_dra_api_server_keeps_taints",
    "1 when the API server stores taints of devices.",
);
const PUBLISHED: Family = Family::gauge(
    "sriov_dra_published",
    "1 when the API server has the slices that this node should have.",
);
const SLICES: Family = Family::gauge("sriov_dra_slices", "ResourceSlices of this node.");
const PUBLISHED_DEVICES: Family = Family::gauge(
    "sriov_dra_published_devices",
    "Devices in the ResourceSlices of this node.",
);
const GENERATION: Family = Family::gauge(
    "sriov_dra_pool_generation",
    "Generation of the pool of this node.",
);
const WRITES: Family = Family::counter(
    "sriov_dra_slice_writes_total",
    "Writes of ResourceSlices that succeeded, by verb.",
);
const FOREIGN: Family = Family::counter(
    "sriov_dra_foreign_slice_changes_total",
    "Slices of this driver that somebody else deleted or changed.",
);
const SILENT: Family = Family::counter(
    "sriov_dra_silent_watches_total",
    "Watches that were replaced because nothing arrived.",
);
const ANSWERS: Family = Family::counter(
    "sriov_dra_api_answers_total",
    "Answers of the API server by method and code; code 0 means that no answer came.",
);

/// The state of each request to the endpoints.
#[derive(Debug)]
pub(super) struct Endpoints {
    /// The machine, for the counters of VFs.
    pub(super) host: HostRoot,
    pub(super) snapshot: watch::Receiver<Arc<HostSnapshot>>,
    pub(super) pools: watch::Receiver<Arc<Pools>>,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) counts: Arc<Shared<Counts>>,
    pub(super) report: Report,
    pub(super) observed: Observed,
}

impl HttpReport for Endpoints {
    /// Reads the counters of all VFs and makes the page.
    fn metrics(&self) -> String {
        let snapshot = self.snapshot.borrow().clone();
        let pools = self.pools.borrow().clone();
        let owners = self.owners.borrow().clone();
        let inventory = InventoryState {
            version: env!("CARGO_PKG_VERSION"),
            pools: &pools,
            owners: &owners,
            counts: &self.counts.now(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            is_ready: self.missing().is_empty(),
        };
        let mut text = Text::default();
        INVENTORY.write(&mut text, &inventory);
        write_published(&mut text, &self.report.now());
        write_answers(&mut text, &self.observed);
        Process::read().write(&mut text);
        let vfs = VfState {
            pools: &pools,
            owners: &owners,
            traffic: &vf_traffic::read(&self.host, &snapshot, &pools),
            has_exporter_names: false,
        };
        vf::write(&mut text, &vfs);
        text.into_string()
    }

    fn missing(&self) -> Vec<String> {
        let facts = self.report.now();
        let mut missing = self.counts.now().missing();
        match facts.error {
            Some(error) => missing.push(error),
            None if !facts.is_published => {
                missing.push("the slices are not published yet".to_owned());
            }
            None => {}
        }
        missing
    }
}

fn write_published(text: &mut Text, facts: &Facts) {
    let is_up = facts.error.is_none() && facts.keeps_taints.is_some();
    for (family, value) in [
        (&API, is_up),
        (&TAINTS, facts.keeps_taints == Some(true)),
        (&PUBLISHED, facts.is_published),
    ] {
        text.family(family);
        text.sample(family.name, &[], u8::from(value));
    }
    for (family, value) in [(&SLICES, facts.slices), (&PUBLISHED_DEVICES, facts.devices)] {
        text.family(family);
        text.sample(family.name, &[], value);
    }
    text.family(&GENERATION);
    text.sample(GENERATION.name, &[], facts.generation);
    text.family(&WRITES);
    for (verb, count) in &facts.writes {
        text.sample(WRITES.name, &[("verb", verb)], count);
    }
    text.family(&FOREIGN);
    for (kind, count) in &facts.foreign {
        text.sample(FOREIGN.name, &[("kind", kind)], count);
    }
    text.family(&SILENT);
    text.sample(SILENT.name, &[], facts.silent_watches);
}

fn write_answers(text: &mut Text, observed: &Observed) {
    text.family(&ANSWERS);
    for ((method, code), count) in observed.answers() {
        let labels = [("method", method), ("code", &*code.to_string())];
        text.sample(ANSWERS.name, &labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints {
            host: HostRoot::default(),
            snapshot: watch::channel(Arc::default()).1,
            pools: watch::channel(Arc::default()).1,
            owners: watch::channel(Arc::default()).1,
            counts: Arc::default(),
            report: Report::default(),
            observed: Observed::default(),
        }
    }

    #[tokio::test]
    async fn each_family_on_the_page_is_documented() {
        let page = endpoints().metrics();
        let document = include_str!("../../../docs/dra.md");
        let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = families.filter_map(|line| line.split(' ').next());
        let own: Vec<&str> = names
            .filter(|name| name.starts_with("sriov_dra_"))
            .collect();
        assert!(own.len() > 20, "{own:?}");
        for name in own {
            assert!(document.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn probe_reports_what_is_missing() {
        let endpoints = endpoints();
        let missing = || endpoints.missing().join("; ");
        assert!(missing().contains("not known yet"));
        endpoints
            .counts
            .count(|counts| counts.are_devices_known = true);
        assert!(missing().contains("not published yet"));
        let report = &endpoints.report;
        report.note(|facts| facts.error = Some("no route".to_owned()));
        assert_eq!(missing(), "no route");
        report.note(|facts| (facts.error, facts.is_published) = (None, true));
        assert_eq!(missing(), "");
    }
}
