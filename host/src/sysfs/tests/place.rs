//! Tests of the facts that a path in sysfs and an uplink give: PCIe root, speed.

use super::*;

#[test]
fn root_complex_is_in_the_path_of_a_function() {
    for (bridge, expected) in [
        ("pci0000:20/0000:20:01.0", Some("pci0000:20")),
        // A VMD controller has a root of its own below that of its PCI function.
        ("pci0000:00/0000:00:0e.0/pci10000:e0", Some("pci0000:00")),
        ("platform/40000000.pcie/pci0000:00", None),
    ] {
        let tree = igb();
        tree.move_below(bridge);
        let snapshot = scan(&tree.root()).unwrap();
        let root = |name: &str| {
            let function = snapshot.function(address(name)).unwrap();
            function.pcie_root.map(|root| root.to_string())
        };
        assert_eq!(root("0000:01:00.0").as_deref(), expected, "{bridge}");
        // A VF has that of its PF, without a look.
        assert_eq!(root("0000:01:10.0"), None, "{bridge}");
    }
    let snapshot = scan(&igb().root()).unwrap();
    let pf = snapshot.function(address("0000:01:00.0")).unwrap();
    assert_eq!(pf.pcie_root, None, "a directory instead of a link");
}

#[test]
fn speed_is_that_of_the_uplink() {
    for (text, expected) in [("25000", Some(25_000)), ("-1", None)] {
        let tree = igb();
        tree.add(&format!("0000:01:00.0/net/pf0/speed={text}"));
        tree.add(&format!("0000:01:10.0/net/eth2/speed={text}"));
        let snapshot = scan(&tree.root()).unwrap();
        let speed = |name: &str| snapshot.function(address(name)).unwrap().speed;
        assert_eq!(speed("0000:01:00.0"), expected);
        assert_eq!(speed("0000:01:10.0"), None);
    }
}
