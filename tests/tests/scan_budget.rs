//! What a look at the machine costs for each function: reads and allocations of the scan, allocations of the plan; the same at any size.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking"
)]
#![cfg(test)]

use std::alloc::System;
use std::collections::BTreeSet;

use sriov_config::ResourceList;
use sriov_device_plugin::pools::plan_pools;
use sriov_host::HostRoot;
use sriov_host::sysfs;
use sriov_tests::bench::tree::{self, Size};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Lookups in sysfs of a scanned VF with a network device.
const LOOKUPS: f64 = 15.0;
/// Allocations and reallocations of the scan for it.
const SCANNED: f64 = 70.0;
/// Those of its way into a pool.
const PLANNED: f64 = 4.0;

/// Lookups, allocations of the scan and of the plan, for each function.
fn cost(size: Size) -> [f64; 3] {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path(), size).unwrap();
    let config = ResourceList::parse(&tree::resource_list(size, 16), "x.y").unwrap();
    let root = HostRoot::new(dir.path());
    let allocations = |region: &Region<System>| {
        let change = region.change();
        change.allocations + change.reallocations
    };
    let region = Region::new(ALLOCATOR);
    let snapshot = sysfs::scan(&root).unwrap();
    let scanned = allocations(&region);
    let region = Region::new(ALLOCATOR);
    let pools = plan_pools(&snapshot, &config, &BTreeSet::new());
    let planned = allocations(&region);
    let offered: usize = pools.pools.iter().map(|pool| pool.devices.len()).sum();
    assert_eq!(offered, size.functions());
    let functions = snapshot.functions.len() as f64;
    [snapshot.lookups, scanned, planned].map(|count| count as f64 / functions)
}

// One test alone: what another one allocates would be counted too.
#[test]
fn a_function_costs_what_it_costs_at_any_size() {
    for size in [Size { pfs: 8, vfs: 16 }, Size { pfs: 8, vfs: 256 }] {
        let [lookups, scanned, planned] = cost(size);
        println!(
            "{} VFs: {lookups:.1} lookups, {scanned:.1} allocations scanned, {planned:.1} planned, each",
            size.functions()
        );
        assert!(lookups <= LOOKUPS, "{lookups} lookups");
        assert!(scanned <= SCANNED, "{scanned} allocations of the scan");
        assert!(planned <= PLANNED, "{planned} allocations of the plan");
    }
}
