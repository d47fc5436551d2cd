//! Limits of a scan for each PCI function: reads, allocations and remaining bytes, the same at any size.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]
#![cfg(test)]

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use sriov_config::ResourceList;
use sriov_host::HostRoot;
use sriov_host::sysfs;
use sriov_inventory::assign::plan_pools;
use sriov_inventory::node_use::NodeUses;
use sriov_inventory::offer::Offer;
use sriov_inventory::owners::Owners;
use sriov_testkit::sized_tree::{self as tree, Size};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Limits for each function.
const BUDGET: [(&str, f64); 6] = [
    // Two directories and twelve attributes.
    ("lookups of the scan", 15.0),
    ("allocations of the scan", 70.0),
    // The function, its network device and the names of both.
    ("bytes that the scan leaves", 420.0),
    ("allocations of the plan", 3.5),
    ("bytes that the plan leaves", 130.0),
    // The offer shares its devices with the plan.
    ("bytes that the offer leaves", 20.0),
];

/// Runs `act`, and counts allocations with reallocations, and remaining bytes.
fn on_heap<T>(act: impl FnOnce() -> T) -> (T, usize, usize) {
    let region = Region::new(ALLOCATOR);
    let made = act();
    let change = region.change();
    (
        made,
        change.allocations + change.reallocations,
        change.bytes_allocated - change.bytes_deallocated,
    )
}

/// The cost of each function, in the order of the budget.
fn cost(size: Size) -> [f64; 6] {
    let dir = tempfile::tempdir().unwrap();
    tree::build(dir.path(), size).unwrap();
    let config = ResourceList::parse(&tree::resource_list(size, 16), "x.y").unwrap();
    let root = HostRoot::new(dir.path());
    let (snapshot, scanned, kept) = on_heap(|| sysfs::scan(&root).unwrap());
    let (functions, lookups) = (snapshot.functions.len() as f64, snapshot.lookups);
    let uplinks = NodeUses::new();
    let (pools, planned, placed) = on_heap(|| plan_pools(&snapshot, &config, &uplinks));
    let (offered, _, told) = on_heap(|| {
        let mut offer = Offer::default();
        offer.take(Arc::new(snapshot), pools, &Owners::default());
        let (pools, _) = offer.pools(&Owners::default(), Instant::now());
        (offer, pools)
    });
    let devices = offered.1.pools.iter().map(|pool| pool.devices.len());
    assert_eq!(devices.sum::<usize>(), size.functions());
    [lookups, scanned, kept, planned, placed, told].map(|count| count as f64 / functions)
}

/// Limit of allocations for each resource while the configuration is parsed; each resource has the name of a PF.
const READ: f64 = 100.0;

fn reading(resources: usize) -> f64 {
    let size = Size {
        pfs: resources,
        vfs: 2,
    };
    let text = tree::resource_list(size, resources);
    let (list, allocations, _) = on_heap(|| ResourceList::parse(&text, "x.y").unwrap());
    assert_eq!(list.resources.len(), resources);
    allocations as f64 / resources as f64
}

// One test alone: allocations of another test would be counted too.
#[test]
fn cost_of_a_function_is_the_same_at_any_size() {
    let mut over = Vec::new();
    for size in [Size { pfs: 8, vfs: 64 }, Size { pfs: 8, vfs: 256 }] {
        for ((what, most), count) in BUDGET.iter().zip(cost(size)) {
            println!("{} VFs: {count:.1} {what}, each", size.functions());
            if count > *most {
                over.push(format!("{count:.1} {what}, {most} are the most"));
            }
        }
    }
    for resources in [16, 2048] {
        let count = reading(resources);
        println!("{resources} resources: {count:.1} allocations of the configuration, each");
        if count > READ {
            over.push(format!(
                "{count:.1} of the configuration, {READ} are the most"
            ));
        }
    }
    assert_eq!(over, Vec::<String>::new());
}
