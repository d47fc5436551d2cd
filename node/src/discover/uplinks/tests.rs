//! Uplinks on constructed trees: routes, addresses, and what is stacked on the network device of a function.

use std::os::unix::fs::symlink;

use super::*;

const ROUTES: &str =
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

/// A machine with the NIC `eth2`; `links` are `from>to` below `sys/class/net`, `routes` are `device destination gateway mask`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(links: &[&str], routes: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (file, text) in [
            ("vendor", "0x8086"),
            ("device", "0x1592"),
            ("class", "0x020000"),
            ("net/eth2/ifindex", "2"),
            ("net/eth2/type", "1"),
            ("net/eth2/address", "02:00:00:00:00:02"),
        ] {
            tree.file(&format!("sys/bus/pci/devices/0000:01:00.0/{file}"), text);
        }
        for link in links {
            let (from, to) = link.split_once('>').unwrap();
            let path = tree.0.path().join("sys/class/net").join(from);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(to, path).unwrap();
        }
        let routes = routes.iter().map(|route| {
            let fields: Vec<&str> = route.split(' ').collect();
            let (flags, tail) = (if fields[2] == "00000000" { 1 } else { 3 }, "0\t0\t0");
            format!(
                "{}\t{}\t{}\t{flags:04}\t0\t0\t0\t{}\t{tail}\n",
                fields[0], fields[1], fields[2], fields[3]
            )
        });
        let routes: String = routes.collect();
        tree.file("proc/net/route", &format!("{ROUTES}{routes}"));
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// The use of `eth2` by the node.
    fn found(&self) -> String {
        self.found_below(&[])
    }

    /// The use of `eth2` by the node, with these parents of macvlan and ipvlan devices.
    fn found_below(&self, parents: &[(&str, &str)]) -> String {
        let host = HostRoot::new(self.0.path());
        let snapshot = sysfs::scan(&host).unwrap();
        let parents = parents.iter();
        let parents = parents.map(|(parent, child)| (parent.to_string(), child.to_string()));
        let found = node_uses(&host, &snapshot, parents.collect());
        let found = found.get("eth2").map(ToString::to_string);
        found.unwrap_or_default()
    }
}

#[test]
fn route_and_address_count_through_any_stack() {
    let default = "00000000 0102000A 00000000";
    let subnet = "0002000A 00000000 00FFFFFF";
    for (links, routes, expected) in [
        (&[][..], "eth9 00000000 0102000A 00000000".to_owned(), ""),
        (&[], format!("eth2 {default}"), "it carries a default route"),
        (
            &["bond0/lower_eth2>../eth2"],
            format!("bond0 {default}"),
            "it carries a default route through `bond0`",
        ),
        // A VLAN on a bond in a bridge.
        (
            &[
                "br0/lower_bond0.7>../bond0.7",
                "bond0.7/lower_bond0>../bond0",
                "bond0/lower_eth2>../eth2",
            ],
            format!("br0 {subnet}"),
            "it has an address of the node through `br0`",
        ),
        (
            &[],
            format!("eth2 {subnet}"),
            "it has an address of the node",
        ),
        // A route through a gateway, and an address of RFC 3927.
        (&[], "eth2 0002000A 0102000A 00FFFFFF".to_owned(), ""),
        (&[], "eth2 0000FEA9 00000000 0000FFFF".to_owned(), ""),
    ] {
        assert_eq!(Tree::new(links, &[&routes]).found(), expected, "{routes}");
    }
}

#[test]
fn address_of_ipv6_counts_unless_it_is_link_local() {
    for (scope, expected) in [("00", "it has an address of the node"), ("20", "")] {
        let tree = Tree::new(&[], &[]);
        let address = format!("fd000000000000000000000000000001 02 40 {scope} 80     eth2");
        tree.file("proc/net/if_inet6", &address);
        assert_eq!(tree.found(), expected, "{scope}");
    }
}

#[test]
fn port_of_any_master_counts() {
    for (links, expected) in [
        // Open vSwitch: the bridge has the address and no link to its port.
        (
            &[
                "eth2/master>../ovs-system",
                "eth2/upper_ovs-system>../ovs-system",
            ][..],
            "it is a port of `ovs-system`",
        ),
        // A VLAN in a bridge, and a macvlan on a VLAN in a VRF.
        (
            &["eth2/upper_eth2.5>../eth2.5", "eth2.5/master>../br0"],
            "it is a port of `br0` through `eth2.5`",
        ),
        (
            &[
                "eth2/upper_eth2.5>../eth2.5",
                "eth2.5/upper_mv0>../mv0",
                "mv0/master>../../../virtual/net/blue",
            ],
            "it is a port of `blue` through `mv0`",
        ),
        (&["eth2/upper_eth2.5>../eth2.5"], ""),
    ] {
        assert_eq!(Tree::new(links, &[]).found(), expected, "{links:?}");
    }
    // A captured tree without the class.
    let tree = Tree::new(&[], &[]);
    let device = tree.0.path().join("sys/bus/pci/devices/0000:01:00.0");
    symlink("../team0", device.join("net/eth2/master")).unwrap();
    assert_eq!(tree.found(), "it is a port of `team0`");
}

#[test]
fn parent_of_macvlan_and_ipvlan_counts() {
    let words = "it is the parent of the macvlan or ipvlan device `up0`";
    let tree = Tree::new(&["eth2.5/lower_eth2>../eth2"], &[]);
    assert_eq!(tree.found(), "");
    assert_eq!(tree.found_below(&[("eth9", "up0")]), "");
    assert_eq!(tree.found_below(&[("eth2", "up0")]), words);
    let through = tree.found_below(&[("eth2.5", "up0")]);
    assert_eq!(through, format!("{words} through `eth2.5`"));
}

#[test]
fn fast_path_of_hyper_v_is_found_by_its_address() {
    for (mac, driver, expected) in [
        (
            "02:00:00:00:00:02",
            "hv_netvsc",
            "it is the VF of the Hyper-V device `eth0`",
        ),
        ("02:00:00:00:00:03", "hv_netvsc", ""),
        ("02:00:00:00:00:02", "e1000", ""),
    ] {
        let driver = format!("eth0/device/driver>../../{driver}");
        let tree = Tree::new(&[&driver], &[]);
        tree.file("sys/class/net/eth0/address", mac);
        assert_eq!(tree.found(), expected, "{mac} {driver}");
    }
}
