//! VFs that are identified, and the sentences for devices that cannot be attached.

use super::*;

/// A constructed PF with one VF; the shapes are those of igb, and of mlx5 and ice where a test names them.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (device, driver) in [("0000:01:00.0", "igb"), ("0000:01:10.0", "igbvf")] {
            for (attribute, value) in [
                ("vendor", "0x8086"),
                ("device", "0x10c9"),
                ("class", "0x020000"),
            ] {
                tree.write(&format!("{device}/{attribute}"), value);
            }
            tree.bind(device, driver);
        }
        for (attribute, value) in [
            ("sriov_totalvfs", "7"),
            ("sriov_numvfs", "1"),
            ("sriov_offset", "128"),
            ("sriov_stride", "2"),
        ] {
            tree.write(&format!("0000:01:00.0/{attribute}"), value);
        }
        tree.link("0000:01:00.0/virtfn0", "../0000:01:10.0");
        tree.link("0000:01:10.0/physfn", "../0000:01:00.0");
        tree.netdev("0000:01:00.0", "pf0", 3, 1, "");
        tree.netdev("0000:01:10.0", "eth2", 5, 1, "");
        tree
    }

    fn devices(&self) -> std::path::PathBuf {
        self.0.path().join("sys/bus/pci/devices")
    }

    fn write(&self, file: &str, value: &str) {
        let path = self.devices().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{value}\n")).unwrap();
    }

    fn link(&self, file: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.devices().join(file)).unwrap();
    }

    fn bind(&self, device: &str, driver: &str) {
        let _ = std::fs::remove_file(self.devices().join(format!("{device}/driver")));
        self.link(
            &format!("{device}/driver"),
            &format!("../../drivers/{driver}"),
        );
    }

    fn unbind(&self, device: &str) {
        std::fs::remove_file(self.devices().join(format!("{device}/driver"))).unwrap();
    }

    fn netdev(&self, device: &str, name: &str, ifindex: u32, kind: u16, port: &str) {
        for (attribute, value) in [
            ("ifindex", ifindex.to_string()),
            ("type", kind.to_string()),
            ("phys_port_name", port.to_owned()),
        ] {
            self.write(&format!("{device}/net/{name}/{attribute}"), &value);
        }
    }

    fn without_netdev(&self, device: &str) {
        std::fs::remove_dir_all(self.devices().join(format!("{device}/net"))).unwrap();
    }

    fn find_vf(&self, device: &str, wanted: &Wanted) -> Result<Candidate, String> {
        let root = HostRoot::new(self.0.path());
        find_vf(&root, device.parse().unwrap(), wanted).map_err(|error| error.to_string())
    }
}

const VF: &str = "0000:01:10.0";
const PF: &str = "0000:01:00.0";

fn refused(tree: &Tree, device: &str, wanted: &Wanted, sentence: &str) {
    assert_eq!(tree.find_vf(device, wanted).unwrap_err(), sentence);
}

#[test]
fn vf_is_identified_with_its_pf_and_index() {
    let found = Tree::new().find_vf(VF, &Wanted::default()).unwrap();
    assert_eq!((found.pf.name.as_str(), found.pf.ifindex), ("pf0", 3));
    assert_eq!((found.index.get(), found.pf.driver.as_str()), (0, "igb"));
    assert_ne!(found.incarnation, 0);
}

#[test]
fn each_unusable_device_has_its_sentence() {
    let tree = Tree::new();
    let nothing = Wanted::default();
    refused(&tree, PF, &nothing, "`0000:01:00.0` is a PF, not a VF");
    refused(
        &tree,
        "0000:09:00.0",
        &nothing,
        "there is no PCI device `0000:09:00.0`",
    );
    std::fs::remove_file(tree.devices().join("0000:01:10.0/physfn")).unwrap();
    let outside = "`0000:01:10.0` is a VF whose PF is not on this machine, as in a virtual machine: this plugin configures VFs through their PF, use the CNI plugin `host-device` instead";
    refused(&tree, VF, &nothing, outside);
    tree.bind(VF, "vfio-pci");
    refused(&tree, VF, &nothing, "`0000:01:10.0` is not a VF");
    tree.write("0000:01:10.0/device", "0x10ca");
    refused(&tree, VF, &nothing, outside);

    let tree = Tree::new();
    std::fs::remove_file(tree.devices().join("0000:01:00.0/virtfn0")).unwrap();
    refused(
        &tree,
        VF,
        &nothing,
        "the PF `0000:01:00.0` does not list the VF `0000:01:10.0`",
    );

    let tree = Tree::new();
    tree.unbind(VF);
    refused(
        &tree,
        VF,
        &nothing,
        "no driver is bound to the VF `0000:01:10.0`",
    );

    let tree = Tree::new();
    tree.without_netdev(PF);
    refused(
        &tree,
        VF,
        &nothing,
        "the PF `0000:01:00.0` has no network device on the host: it was moved to another network namespace, or its driver creates none",
    );
}

#[test]
fn switchdev_is_recognised_by_representors_not_by_a_switch_id() {
    let tree = Tree::new();
    // As `ice` shows its PF in legacy mode.
    tree.write("0000:01:00.0/net/pf0/phys_switch_id", "40a6b70bb000");
    tree.write("0000:01:00.0/net/pf0/phys_port_name", "p0");
    assert!(tree.find_vf(VF, &Wanted::default()).is_ok());
    // As `mlx5_core` shows it in switchdev mode.
    tree.netdev(PF, "eth7", 9, 1, "pf0vf0");
    refused(
        &tree,
        VF,
        &Wanted::default(),
        "the PF `0000:01:00.0` is in switchdev mode: its VFs are configured through their representors, not by this plugin",
    );
}

#[test]
fn keys_of_another_kind_are_refused_all_at_once() {
    let guid = Wanted {
        guid: Some(sriov_host::Guid::from_number(7)),
        ..Wanted::default()
    };
    let tree = Tree::new();
    refused(
        &tree,
        VF,
        &guid,
        "runtimeConfig.infinibandGUID: the VF `0000:01:10.0` is an Ethernet VF, which has no such setting",
    );
    // As `mlx5_core` shows IPoIB: ARPHRD_INFINIBAND.
    tree.write("0000:01:10.0/net/eth2/type", "32");
    assert!(tree.find_vf(VF, &guid).is_ok());
    let wanted = Wanted {
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        spoofchk: Some(true),
        ..guid
    };
    refused(
        &tree,
        VF,
        &wanted,
        "mac: the VF `0000:01:10.0` is an InfiniBand VF, which has no such setting; spoofchk: the VF `0000:01:10.0` is an InfiniBand VF, which has no such setting",
    );

    let tree = Tree::new();
    tree.bind(VF, "vfio-pci");
    tree.without_netdev(VF);
    let mtu = Wanted {
        mtu: Some(9000),
        ..Wanted::default()
    };
    refused(
        &tree,
        VF,
        &mtu,
        "mtu: the VF `0000:01:10.0` has a driver for user space and no network device, which has no such setting",
    );
    assert!(tree.find_vf(VF, &Wanted::default()).is_ok());
}

#[test]
fn settings_of_a_pf_with_two_ports_are_refused() {
    let wanted = Wanted {
        trust: Some(true),
        ..Wanted::default()
    };
    let tree = Tree::new();
    // As `mlx4_en` shows the two ports of a ConnectX-3.
    tree.netdev(PF, "pf1", 4, 1, "");
    tree.write("0000:01:00.0/net/pf0/dev_port", "0");
    tree.write("0000:01:00.0/net/pf1/dev_port", "1");
    refused(
        &tree,
        VF,
        &wanted,
        "the PF `0000:01:00.0` has several ports (`pf0`, `pf1`): it is not known through which of them the VF `0000:01:10.0` is configured; only a configuration without settings of the PF works",
    );
    assert!(tree.find_vf(VF, &Wanted::default()).is_ok());
    // As IPoIB shows a child interface, which is at the same port.
    tree.write("0000:01:00.0/net/pf1/dev_port", "0");
    assert!(tree.find_vf(VF, &wanted).is_ok());
}

#[test]
fn vf_with_two_network_devices_is_refused() {
    let tree = Tree::new();
    tree.netdev(VF, "eth3", 6, 1, "");
    refused(
        &tree,
        VF,
        &Wanted::default(),
        "the VF `0000:01:10.0` has the network devices `eth2`, `eth3`, this plugin attaches VFs with one",
    );
}
