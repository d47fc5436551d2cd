//! The families of the inventory: pools, holders, configuration and scans, under the prefix of a front end.

use std::collections::BTreeMap;

use sriov_inventory::owners::{Finding, Owners};
use sriov_inventory::pool::Pools;

use super::text_format::{Family, Text};
use crate::counts::Counts;

/// The families; [`inventory_families`](crate::inventory_families) makes them.
#[derive(Clone, Copy, Debug)]
pub struct InventoryFamilies {
    /// Version of the program.
    pub build: Family,
    /// Whether `/readyz` answers 200.
    pub ready: Family,
    /// Whether the configuration in use is older than the file.
    pub outdated: Family,
    /// Whether the configuration that was read last has no mistake.
    pub valid: Family,
    /// Resources with a mistake.
    pub unusable: Family,
    /// Whether the kubelet's pod resources answer.
    pub pod_resources: Family,
    /// Devices of each pool.
    pub devices: Family,
    /// Held devices of each pool.
    pub held: Family,
    /// Unhealthy devices.
    pub unhealthy: Family,
    /// Devices in no pool.
    pub left_out: Family,
    /// Devices on which kubelet and CNI plugin disagree.
    pub finding: Family,
    /// Time of scans.
    pub scan_time: Family,
    /// Scans that failed.
    pub failed_scans: Family,
    /// Tasks of the process.
    pub tasks: Family,
}

/// The families with the prefix of a front end, for instance `sriov_device_plugin`.
#[macro_export]
macro_rules! inventory_families {
    ($prefix:literal) => {{
        use $crate::metrics::text_format::Family;
        $crate::metrics::inventory::InventoryFamilies {
            build: Family::gauge(
                concat!($prefix, "_build_info"),
                "Version of the program, always 1.",
            ),
            ready: Family::gauge(concat!($prefix, "_ready"), "1 when /readyz answers 200."),
            outdated: Family::gauge(
                concat!($prefix, "_config_outdated"),
                "1 when the configuration in use is older than the file.",
            ),
            valid: Family::gauge(
                concat!($prefix, "_config_valid"),
                "1 when the configuration that was read last is in use, all of it.",
            ),
            unusable: Family::gauge(
                concat!($prefix, "_resource_unusable"),
                "1 for each resource of the configuration that was read last that has a mistake.",
            ),
            pod_resources: Family::gauge(
                concat!($prefix, "_pod_resources_up"),
                "1 when the kubelet's pod resources answer.",
            ),
            devices: Family::gauge(
                concat!($prefix, "_devices"),
                "Devices that are advertised, healthy or not.",
            ),
            held: Family::gauge(concat!($prefix, "_devices_held"), "Devices that pods hold."),
            unhealthy: Family::gauge(
                concat!($prefix, "_device_unhealthy"),
                "1 for each device that no pod could use now, with the reason.",
            ),
            left_out: Family::gauge(
                concat!($prefix, "_devices_left_out"),
                "Devices of a served class that are in no pool, by reason.",
            ),
            finding: Family::gauge(
                concat!($prefix, "_device_finding"),
                "1 for each device on which the kubelet and the CNI plugin disagree.",
            ),
            scan_time: Family::histogram(
                concat!($prefix, "_scan_duration_seconds"),
                "Time that scans of all devices took.",
            ),
            failed_scans: Family::counter(
                concat!($prefix, "_scan_failures_total"),
                "Scans of all devices that failed.",
            ),
            tasks: Family::gauge(concat!($prefix, "_tasks"), "Tasks that run in the process."),
        }
    }};
}

/// The values that the families show.
#[derive(Clone, Copy, Debug)]
pub struct InventoryState<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// The pools.
    pub pools: &'a Pools,
    /// Who holds which device.
    pub owners: &'a Owners,
    /// The counts of this process.
    pub counts: &'a Counts,
    /// Running tasks.
    pub tasks: usize,
    /// Whether `/readyz` answers 200.
    pub is_ready: bool,
}

impl InventoryFamilies {
    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            self.build,
            self.ready,
            self.outdated,
            self.valid,
            self.unusable,
            self.pod_resources,
            self.devices,
            self.held,
            self.unhealthy,
            self.left_out,
            self.finding,
            self.scan_time,
            self.failed_scans,
            self.tasks,
        ];
        all.into_iter().map(|family| family.name)
    }

    /// Writes the families.
    pub fn write(&self, text: &mut Text, state: &InventoryState<'_>) {
        text.family(&self.build);
        text.sample(self.build.name, &[("version", state.version)], 1);
        self.write_config(text, state);
        self.write_pools(text, state);
        self.write_devices(text, state);
        text.family(&self.scan_time);
        text.histogram(self.scan_time.name, &[], &state.counts.scans);
        text.single(&self.failed_scans, Some(state.counts.failed_scans));
        text.single(&self.tasks, Some(state.tasks));
    }

    fn write_config(&self, text: &mut Text, state: &InventoryState<'_>) {
        let config = state.counts.config;
        let is_up = state.owners.pods.is_some() && !state.owners.is_stale;
        for (family, flag) in [
            (&self.ready, state.is_ready),
            (&self.outdated, config.is_outdated),
            (&self.valid, config.is_valid),
            (&self.pod_resources, is_up),
        ] {
            text.single(family, Some(u8::from(flag)));
        }
        text.family(&self.unusable);
        for resource in &state.counts.unusable {
            text.sample(self.unusable.name, &[("resource", resource)], 1);
        }
    }

    fn write_pools(&self, text: &mut Text, state: &InventoryState<'_>) {
        text.family(&self.devices);
        for pool in &state.pools.pools {
            let resource = pool.name.to_string();
            let labels = [("resource", resource.as_str())];
            text.sample(self.devices.name, &labels, pool.ids().len());
        }
        text.family(&self.held);
        for pool in &state.pools.pools {
            let resource = pool.name.to_string();
            let ids = pool.ids().into_iter();
            let held = ids.filter(|id| state.owners.is_held(id) == Some(true));
            let labels = [("resource", resource.as_str())];
            text.sample(self.held.name, &labels, held.count());
        }
        text.family(&self.left_out);
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for why in state.pools.left_out.values() {
            *reasons.entry(why.word()).or_default() += 1;
        }
        for (reason, count) in reasons {
            text.sample(self.left_out.name, &[("reason", reason)], count);
        }
    }

    fn write_devices(&self, text: &mut Text, state: &InventoryState<'_>) {
        text.family(&self.unhealthy);
        for pool in &state.pools.pools {
            let resource = pool.name.to_string();
            for (id, why) in &pool.unhealthy {
                let id = id.to_string();
                let labels = [
                    ("resource", resource.as_str()),
                    ("device", &id),
                    ("reason", why.word()),
                ];
                text.sample(self.unhealthy.name, &labels, 1);
            }
        }
        text.family(&self.finding);
        let pools = state.pools.pools.iter();
        let devices = pools.flat_map(|pool| pool.devices.iter());
        for address in devices.filter_map(|device| device.id.address()) {
            for finding in state.owners.findings(address) {
                let finding = match finding {
                    Finding::Leaked => "leaked",
                    Finding::HeldTwice => "held_twice",
                    Finding::Dirty => "dirty",
                };
                let labels = [("pci_address", &*address.to_string()), ("finding", finding)];
                text.sample(self.finding.name, &labels, 1);
            }
        }
    }
}
