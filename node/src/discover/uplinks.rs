//! The node's uplinks: network devices that the node itself uses, which are offered to no pod unless a resource names them.
//!
//! The kernel lists default routes and addresses; sysfs shows which device is stacked on which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sriov_host::snapshot::{HostSnapshot, Netdev};
use sriov_host::{HostRoot, query, sysfs};
use sriov_inventory::node_use::{NodeUse, NodeUses, Purpose};

use super::{proc_net, recorded};

/// Network devices that carry a default route or an address of the node, or are a port of another device, through any stack of devices.
pub(super) fn uplinks(host: &HostRoot, snapshot: &HostSnapshot) -> NodeUses {
    node_uses(host, snapshot, shared_parents(host))
}

/// The parents of macvlan and ipvlan devices, each with one such device.
pub(crate) fn shared_parents(host: &HostRoot) -> BTreeMap<String, String> {
    let parents = query(host, "links", query::shared_parents);
    let recorded = || recorded::pairs(host, recorded::SHARED_PARENTS);
    parents.unwrap_or_else(|| recorded().into_iter().collect())
}

/// `parents` are those of macvlan and ipvlan devices, each with one such device: sysfs does not show the kind.
fn node_uses(
    host: &HostRoot,
    snapshot: &HostSnapshot,
    parents: BTreeMap<String, String>,
) -> NodeUses {
    let mut uses = NodeUses::new();
    for (purpose, names) in [
        (Purpose::DefaultRoute, default_routes(host)),
        (Purpose::Address, addresses(host)),
    ] {
        for name in names {
            add_with_lower(host, &mut uses, &purpose, &name);
        }
    }
    for (parent, child) in parents {
        add_with_lower(host, &mut uses, &Purpose::Parent(child), &parent);
    }
    let synthetic = hyper_v(host);
    for (netdev, dirs) in netdevs(host, snapshot) {
        let name = netdev.name.as_str();
        if !uses.contains_key(name) {
            let node_use = port(host, name, &dirs).or_else(|| paired(&synthetic, &dirs));
            uses.extend(node_use.map(|node_use| (name.to_owned(), node_use)));
        }
    }
    uses
}

/// Names of the network devices with a default route of any table and family.
pub(crate) fn default_routes(host: &HostRoot) -> BTreeSet<String> {
    query(host, "routes", query::default_route_links)
        .unwrap_or_else(|| proc_net::default_routes(host))
}

/// Names of the network devices with an address that is valid beyond its link.
pub(crate) fn addresses(host: &HostRoot) -> BTreeSet<String> {
    query(host, "addresses", query::global_address_links)
        .unwrap_or_else(|| proc_net::addresses(host))
}

/// Queries the kernel; nothing if it refuses, or for a captured tree, which has no kernel.
fn query<T>(host: &HostRoot, what: &str, query: fn() -> std::io::Result<T>) -> Option<T> {
    if !host.is_machine() {
        return None;
    }
    let answer = query();
    answer
        .map_err(|error| {
            tracing::warn!("cannot query the {what}: {error}; using /proc/net and sysfs instead");
        })
        .ok()
}

/// Adds a device and all devices below it, for instance the ports of a bond.
fn add_with_lower(host: &HostRoot, uses: &mut NodeUses, purpose: &Purpose, top: &str) {
    let mut pending = vec![top.to_owned()];
    while let Some(name) = pending.pop() {
        if uses.contains_key(&name) {
            continue;
        }
        pending.extend(stacked(&class_dir(host, &name), "lower_"));
        let through = (name != top).then(|| top.to_owned());
        let purpose = purpose.clone();
        uses.insert(name, NodeUse { purpose, through });
    }
}

/// The master of a device, or of a device on top of it.
fn port(host: &HostRoot, name: &str, dirs: &[PathBuf]) -> Option<NodeUse> {
    let mut seen = BTreeSet::from([name.to_owned()]);
    let mut pending = vec![(name.to_owned(), dirs.to_vec())];
    while let Some((at, dirs)) = pending.pop() {
        if let Some(master) = dirs.iter().find_map(|dir| linked_name(&dir.join("master"))) {
            return Some(NodeUse {
                purpose: Purpose::Port(master),
                through: (at != name).then_some(at),
            });
        }
        let uppers = dirs.iter().flat_map(|dir| stacked(dir, "upper_"));
        for upper in uppers.filter(|upper| seen.insert(upper.clone())) {
            let dirs = vec![class_dir(host, &upper)];
            pending.push((upper, dirs));
        }
    }
    None
}

/// The device of Hyper-V that has the same MAC address: the VF is its fast path (`drivers/net/hyperv/netvsc_drv.c`, `get_netvsc_byslot`).
fn paired(synthetic: &BTreeMap<String, String>, dirs: &[PathBuf]) -> Option<NodeUse> {
    if synthetic.is_empty() {
        return None;
    }
    let mac = dirs.iter().find_map(|dir| mac(dir))?;
    synthetic.get(&mac).map(|name| NodeUse {
        purpose: Purpose::HyperV(name.clone()),
        through: None,
    })
}

/// The virtual devices of Hyper-V by MAC address.
fn hyper_v(host: &HostRoot) -> BTreeMap<String, String> {
    // Only a guest of Hyper-V has this bus.
    if host.is_machine() && !host.join("sys/bus/vmbus").exists() {
        return BTreeMap::new();
    }
    let class = host.join("sys/class/net");
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let driver = linked_name(&entry.path().join("device/driver"))?;
        let name = entry.file_name().into_string().ok()?;
        (driver == "hv_netvsc").then_some((mac(&entry.path())?, name))
    });
    found.collect()
}

/// The network devices of all functions and subfunctions, with their directories.
fn netdevs<'a>(
    host: &'a HostRoot,
    snapshot: &'a HostSnapshot,
) -> impl Iterator<Item = (&'a Netdev, Vec<PathBuf>)> {
    let functions = snapshot.functions.values().flat_map(|function| {
        let device = sysfs::device_path(host, function.address);
        let netdevs = function.netdevs.iter();
        netdevs.map(move |netdev| (netdev, device.clone()))
    });
    let subfunctions = snapshot.subfunctions.values().flat_map(|subfunction| {
        let device = host
            .join("sys/bus/auxiliary/devices")
            .join(&subfunction.name);
        let netdevs = subfunction.netdevs.iter();
        netdevs.map(move |netdev| (netdev, device.clone()))
    });
    functions.chain(subfunctions).map(|(netdev, device)| {
        let name = netdev.name.as_str();
        let mut dirs = vec![class_dir(host, name)];
        // A captured tree may lack the class.
        if !host.is_machine() {
            dirs.push(device.join("net").join(name));
        }
        (netdev, dirs)
    })
}

fn class_dir(host: &HostRoot, name: &str) -> PathBuf {
    host.join("sys/class/net").join(name)
}

/// Names of the devices that are stacked on a device (`upper_`), or below it (`lower_`).
fn stacked(dir: &Path, prefix: &'static str) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let stacked = names.filter_map(|name| name.strip_prefix(prefix).map(str::to_owned));
    stacked.collect()
}

fn linked_name(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn mac(dir: &Path) -> Option<String> {
    let mac = fs::read_to_string(dir.join("address")).ok()?;
    Some(mac.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
