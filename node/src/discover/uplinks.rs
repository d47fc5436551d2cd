//! The node's uplinks: network devices that carry a default route, which are never offered to a pod.

use std::collections::BTreeSet;
use std::fs;

use sriov_host::{HostRoot, query};

/// Names of the network devices with a default route of IPv4 or IPv6 in any table, and of their lower devices (of a bond, bridge or VLAN).
pub(super) fn uplinks(host: &HostRoot) -> BTreeSet<String> {
    let mut pending = carriers(host);
    let mut uplinks = BTreeSet::new();
    while let Some(name) = pending.pop_first() {
        let below = fs::read_dir(host.join("sys/class/net").join(&name))
            .into_iter()
            .flatten()
            .flatten();
        let lower = below.filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("lower_")
                .map(str::to_owned)
        });
        pending.extend(lower.filter(|name| !uplinks.contains(name)));
        uplinks.insert(name);
    }
    uplinks
}

/// Queries the kernel. Without it, or in a captured tree, `/proc/net` is read, which lacks the other tables of IPv4.
fn carriers(host: &HostRoot) -> BTreeSet<String> {
    if host.is_machine() {
        match query::default_route_links() {
            Ok(links) => return links,
            Err(error) => {
                tracing::warn!("cannot query the routes: {error}; reading /proc/net instead");
            }
        }
    }
    let read = |path: &str| fs::read_to_string(host.join(path)).unwrap_or_default();
    default_routes(&read("proc/net/route"), &read("proc/net/ipv6_route"))
}

/// Reads `/proc/net/route` (device, destination, gateway, flags, ..., mask) and `/proc/net/ipv6_route` (destination, prefix length, ..., device).
fn default_routes(ipv4: &str, ipv6: &str) -> BTreeSet<String> {
    let v4 = ipv4.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, "00000000", _, _, _, _, _, "00000000", ..] = fields.as_slice() else {
            return None;
        };
        Some(*device)
    });
    let v6 = ipv6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", .., device] = fields.as_slice() else {
            return None;
        };
        // The kernel's own reject route is on `lo`.
        (destination.bytes().all(|b| b == b'0') && *device != "lo").then_some(*device)
    });
    v4.chain(v6).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nbond0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth9\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";

    #[test]
    fn default_routes_of_both_families_are_found() {
        let found: Vec<String> = default_routes(V4, V6).into_iter().collect();
        assert_eq!(found, ["bond0", "eth1"]);
    }

    #[test]
    fn lower_devices_of_an_uplink_are_uplinks() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "proc/net",
            "sys/class/net/bond0/lower_eth2",
            "sys/class/net/bond0/lower_eth3",
        ] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("proc/net/route"), V4).unwrap();
        let found: Vec<String> = uplinks(&HostRoot::new(dir.path())).into_iter().collect();
        assert_eq!(found, ["bond0", "eth2", "eth3"]);
    }
}
