//! Kernel modules and programs that only some suites of the plain node need, added for a run of such a suite.

use anyhow::Result;

use crate::cache::Cache;
use crate::debian::{self, NodeParts, first_of};
use crate::files::add_with_libraries;
use crate::image;
use crate::netdevsim;
use crate::qemu::Node;
use crate::suites::Suites;

/// Version of the packages in the cache.
const OPENVSWITCH: &str = "openvswitch-v1";

/// Programs of Open vSwitch: path in the package root, path on the node.
const SWITCH: &[(&str, &str)] = &[
    (
        "usr/lib/openvswitch-switch/ovs-vswitchd",
        "usr/sbin/ovs-vswitchd",
    ),
    ("usr/sbin/ovsdb-server", "usr/sbin/ovsdb-server"),
    ("usr/bin/ovsdb-tool", "usr/bin/ovsdb-tool"),
    ("usr/bin/ovs-vsctl", "usr/bin/ovs-vsctl"),
];

/// The layout of the switch's database.
const SCHEMA: &str = "usr/share/openvswitch/vswitch.ovsschema";

/// The tool of iproute2 for RDMA devices.
const RDMA: &str = "usr/bin/rdma";

/// Adds to the node what its suites need.
///
/// # Errors
/// If a component cannot be downloaded or built.
pub(crate) fn add(cache: &Cache, suites: &Suites, node: &mut Node) -> Result<()> {
    let parts = debian::node_parts(cache)?;
    if suites.has("netdevsim") {
        add_netdevsim(cache, &parts, node)?;
    }
    if suites.has("openvswitch") {
        add_openvswitch(cache, &parts, node)?;
    }
    if suites.has("rdma") {
        // rxe requests a checksum by the name of its algorithm, not of its module.
        let modules = image::modules(&parts, &["crc32_generic", "rdma_rxe"])?;
        add_modules(node, "rdma", &modules)?;
        let program = first_of(&parts.guest, RDMA)?;
        add_with_libraries(node, &parts.guest, &program, RDMA)?;
    }
    Ok(())
}

fn add_netdevsim(cache: &Cache, parts: &NodeParts, node: &mut Node) -> Result<()> {
    let mut modules = image::modules(parts, &["psample"])?;
    let module = std::fs::read(netdevsim::module(cache, parts)?)?;
    modules.push((netdevsim::MODULE.to_owned(), module));
    add_modules(node, "netdevsim", &modules)
}

fn add_openvswitch(cache: &Cache, parts: &NodeParts, node: &mut Node) -> Result<()> {
    add_modules(
        node,
        "openvswitch",
        &image::modules(parts, &["openvswitch"])?,
    )?;
    let root = debian::packages(cache, OPENVSWITCH, &["openvswitch-switch"])?;
    for (from, to) in SWITCH {
        add_with_libraries(node, &root, &first_of(&root, from)?, to)?;
    }
    node.add_file(SCHEMA, &first_of(&root, SCHEMA)?)
}

/// Adds modules to the node; `sriov_testkit::node::modules` loads them in this order.
fn add_modules(node: &mut Node, group: &str, modules: &[(String, Vec<u8>)]) -> Result<()> {
    for (place, (name, text)) in modules.iter().enumerate() {
        let file = node.run_path(&format!("{group}-{name}"));
        std::fs::write(&file, text)?;
        node.add_file(&format!("lab/modules/{group}/{place:02}-{name}"), &file)?;
    }
    Ok(())
}
