//! The scan on constructed trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;
use crate::snapshot::{LinkType, VdpaDevice};

mod pf;

/// A sysfs tree in a temporary directory: `0000:01:00.0/vendor=0x8086` is a file, `0000:01:10.0/physfn>0000:01:00.0` a link.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(lines: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.root().join("sys/bus/pci/devices")).unwrap();
        lines.split_whitespace().for_each(|line| tree.add(line));
        tree
    }

    fn root(&self) -> HostRoot {
        HostRoot::new(self.0.path())
    }

    fn add(&self, line: &str) {
        let place = |name: &str| {
            let path = devices(&self.root()).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((name, text)) = line.split_once('=') {
            fs::write(place(name), format!("{text}\n")).unwrap();
        } else if let Some((name, target)) = line.split_once('>') {
            symlink(format!("../{target}"), place(name)).unwrap();
        }
    }

    fn function(&self, address: &str) {
        for (attribute, text) in [
            ("vendor", "0x8086"),
            ("device", "0x10ca"),
            ("class", "0x020000"),
            ("numa_node", "1"),
        ] {
            self.add(&format!("{address}/{attribute}={text}"));
        }
    }
}

/// An 82576 with two VFs, one of them in a pod, as the lab's node shows it.
fn igb() -> Tree {
    let tree = Tree::new(
        "0000:01:00.0/sriov_totalvfs=7 0000:01:00.0/sriov_numvfs=2 0000:01:00.0/sriov_offset=128 0000:01:00.0/sriov_stride=2
         0000:01:00.0/driver>igb 0000:01:00.0/net/pf0/ifindex=3 0000:01:00.0/net/pf0/type=1
         0000:01:00.0/virtfn0>0000:01:10.0 0000:01:00.0/virtfn1>0000:01:10.2
         0000:01:10.0/physfn>0000:01:00.0 0000:01:10.0/driver>igbvf 0000:01:10.0/net/eth2/ifindex=5 0000:01:10.0/net/eth2/type=1
         0000:01:10.0/iommu_group>12 0000:01:10.2/physfn>0000:01:00.0 0000:01:10.2/driver>vfio-pci",
    );
    for address in ["0000:01:00.0", "0000:01:10.0", "0000:01:10.2"] {
        tree.function(address);
    }
    tree
}

fn address(text: &str) -> PciAddress {
    text.parse().unwrap()
}

#[test]
fn pf_and_vfs_refer_to_each_other() {
    let snapshot = scan(&igb().root()).unwrap();
    assert_eq!(snapshot.problems, []);
    let vf = snapshot.function(address("0000:01:10.2")).unwrap();
    assert_eq!(
        vf.role,
        SriovRole::Vf {
            pf: address("0000:01:00.0"),
            index: Some(VfIndex::new(1))
        }
    );
    assert_eq!(
        (vf.driver.as_deref(), vf.netdevs.len(), vf.numa_node),
        (Some("vfio-pci"), 0, Some(1))
    );
    let pf = snapshot.pf_of(vf).unwrap();
    assert!(matches!(&pf.role, SriovRole::Pf { total_vfs: 7, vfs } if vfs.len() == 2));
    assert_eq!(pf.netdevs.first().unwrap().name.as_str(), "pf0");
}

#[test]
fn index_is_found_without_offset_and_stride() {
    let tree = igb();
    fs::write(
        devices(&tree.root()).join("0000:01:00.0/sriov_stride"),
        "1\n",
    )
    .unwrap();
    let vf = presence(&tree.root(), address("0000:01:10.2"));
    let (_, index) = vf.unwrap().unwrap().vf_of.unwrap();
    assert_eq!(index, Some(VfIndex::new(1)));
}

#[test]
fn torn_attribute_is_a_problem_of_one_device() {
    let tree = igb();
    tree.add("0000:02:00.0/vendor=0x");
    tree.add("not-a-device/vendor=0x8086");
    let snapshot = scan(&tree.root()).unwrap();
    assert_eq!(snapshot.functions.len(), 3);
    let devices: Vec<&str> = snapshot
        .problems
        .iter()
        .map(|problem| problem.device.as_str())
        .collect();
    assert_eq!(devices, ["0000:02:00.0", "not-a-device"]);
}

#[test]
fn missing_sysfs_is_an_error_with_a_hint() {
    let error = scan(&HostRoot::new("/nowhere")).unwrap_err();
    assert!(error.to_string().contains("is sysfs mounted?"), "{error}");
}

#[test]
fn numa_node_and_iommu_group_are_read() {
    let tree = igb();
    fs::write(devices(&tree.root()).join("0000:01:10.0/numa_node"), "-1\n").unwrap();
    let snapshot = scan(&tree.root()).unwrap();
    let vf = snapshot.function(address("0000:01:10.0")).unwrap();
    assert_eq!(vf.numa_node, None);
    assert_eq!(
        vf.iommu_group,
        Some(IommuGroup {
            number: 12,
            noiommu: false
        })
    );
}

#[test]
fn thousands_of_functions_are_scanned() {
    let tree = Tree::new("");
    for port in 0..8 {
        let pf = format!("0000:{port:02x}:00.0");
        tree.function(&pf);
        tree.add(&format!("{pf}/sriov_totalvfs=256"));
        tree.add(&format!("{pf}/sriov_numvfs=256"));
        for index in 0..256 {
            let vf = format!("0001:{port:02x}:{:02x}.{}", index / 8, index % 8);
            tree.function(&vf);
            tree.add(&format!("{vf}/driver>mlx5_core"));
            tree.add(&format!("{vf}/iommu_group>{index}"));
            for attribute in ["ifindex=5", "type=1", "flags=0x1003", "carrier=1"] {
                tree.add(&format!("{vf}/net/eth{port}v{index}/{attribute}"));
            }
            tree.add(&format!("{vf}/physfn>{pf}"));
            tree.add(&format!("{pf}/virtfn{index}>{vf}"));
        }
    }
    let snapshot = scan(&tree.root()).unwrap();
    let indexed = snapshot
        .functions
        .values()
        .filter(|function| matches!(function.role, SriovRole::Vf { index: Some(_), .. }));
    assert_eq!((indexed.count(), snapshot.functions.len()), (2048, 2056));
    // Each attribute is read once, for any number of functions.
    let functions = snapshot.functions.len();
    assert!(
        snapshot.lookups <= 16 * functions,
        "{} for {functions} functions",
        snapshot.lookups
    );
}

fn without_state(netdevs: &[Netdev]) -> Vec<Netdev> {
    let netdevs = netdevs.iter().map(|netdev| Netdev {
        is_up: None,
        carrier: None,
        ..netdev.clone()
    });
    netdevs.collect()
}

#[test]
fn presence_agrees_with_the_scan() {
    let tree = igb();
    let scanned = scan(&tree.root()).unwrap();
    for (address, function) in &scanned.functions {
        let presence = presence(&tree.root(), *address).unwrap().unwrap();
        assert_eq!(presence.driver, function.driver);
        assert_eq!(presence.netdevs, without_state(&function.netdevs));
        match &function.role {
            SriovRole::Vf { pf, index } => assert_eq!(presence.vf_of, Some((*pf, *index))),
            SriovRole::Pf { .. } => assert!(presence.is_pf && presence.vf_of.is_none()),
            SriovRole::None => assert!(!presence.is_pf && presence.vf_of.is_none()),
        }
        let index = netdev_index(&tree.root(), *address).unwrap();
        assert_eq!(index, function.netdevs.first().map(|netdev| netdev.ifindex));
    }
    let nowhere = "0000:7f:00.0".parse().unwrap();
    assert_eq!(presence(&tree.root(), nowhere).unwrap(), None);
    assert_eq!(netdev_index(&tree.root(), nowhere).unwrap(), None);
}

#[test]
fn netdev_of_a_virtio_function_is_found() {
    let tree = Tree::new(
        "0000:02:00.0/driver>virtio-pci 0000:02:00.0/virtio3/net/eth9/ifindex=9 0000:02:00.0/virtio3/net/eth9/type=1",
    );
    tree.function("0000:02:00.0");
    let function = "0000:02:00.0".parse().unwrap();
    assert_eq!(netdev_index(&tree.root(), function).unwrap(), Some(9));
}

#[test]
fn netdev_with_a_name_that_is_not_utf8_keeps_its_index() {
    let tree = igb();
    let net = device_path(&tree.root(), address("0000:01:10.0")).join("net");
    fs::rename(net.join("eth2"), net.join(OsStr::from_bytes(b"x\xff"))).unwrap();
    let vf = address("0000:01:10.0");
    let netdevs = scan(&tree.root())
        .unwrap()
        .functions
        .remove(&vf)
        .unwrap()
        .netdevs;
    let [netdev] = netdevs.as_slice() else {
        panic!("{netdevs:?}")
    };
    assert_eq!((netdev.name.as_str(), netdev.ifindex), ("?5", 5));
    let present = presence(&tree.root(), vf).unwrap().unwrap();
    assert_eq!(present.netdevs, without_state(&netdevs));
    assert_eq!(netdev_index(&tree.root(), vf).unwrap(), Some(5));
}

#[test]
fn upper_devices_are_named_in_bytes() {
    let tree = igb();
    let net = device_path(&tree.root(), address("0000:01:10.0")).join("net/eth2");
    for name in [&b"upper_eth2.100"[..], b"upper_x\xff", b"lower_eth9"] {
        symlink("../other", net.join(OsStr::from_bytes(name))).unwrap();
    }
    let uppers = upper_devices(&tree.root(), address("0000:01:10.0")).unwrap();
    assert_eq!(uppers, ["eth2.100".into(), RawName::from_bytes(b"x\xff")]);
    let none = upper_devices(&tree.root(), address("0000:01:10.2")).unwrap();
    assert!(none.is_empty());
}

#[test]
fn recreated_device_has_another_incarnation() {
    let tree = igb();
    let vf = "0000:01:10.0".parse().unwrap();
    let first = incarnation(&tree.root(), vf);
    assert!(first.is_some());
    assert_eq!(incarnation(&tree.root(), vf), first);
    assert_eq!(
        incarnation(&tree.root(), "0000:7f:00.0".parse().unwrap()),
        None
    );
}

#[test]
fn device_that_vanishes_during_the_scan_is_absent() {
    let tree = igb();
    let gone = devices(&tree.root()).join("0000:05:00.0");
    symlink("../0000:00:1c.0/0000:05:00.0", gone).unwrap();
    // The PF still has the link of a removed VF.
    fs::remove_dir_all(devices(&tree.root()).join("0000:01:10.2")).unwrap();
    let snapshot = scan(&tree.root()).unwrap();
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.functions.len(), 2);
    assert_eq!(
        presence(&tree.root(), address("0000:05:00.0")).unwrap(),
        None
    );
}

#[test]
fn unreadable_attribute_is_reported_with_its_path() {
    for (line, reason) in [
        ("0000:01:10.0/vendor/x=1", "vendor`: Is a directory"),
        ("0000:01:10.0/numa_node=one", "numa_node` holds `one`"),
        ("0000:01:10.0/vendor=", "vendor` holds ``"),
        ("0000:01:10.0/device=8086", "device` holds `8086`"),
        ("0000:01:10.0/device=0x18086", "device` holds `0x18086`"),
        ("0000:01:10.0/class=\u{fffd}", "class` holds `\u{fffd}`"),
        (
            "0000:01:10.0/sriov_totalvfs=-1",
            "sriov_totalvfs` holds `-1`",
        ),
        ("0000:01:10.0/physfn>nowhere", "physfn` holds `nowhere`"),
    ] {
        let tree = igb();
        let vf = devices(&tree.root()).join("0000:01:10.0");
        fs::remove_file(vf.join("physfn")).unwrap();
        for attribute in ["vendor", "device", "class", "numa_node"] {
            if line.contains(attribute) {
                fs::remove_file(vf.join(attribute)).unwrap();
            }
        }
        tree.add(line);
        let snapshot = scan(&tree.root()).unwrap();
        assert_eq!(snapshot.functions.len(), 2, "{line}");
        let [problem] = snapshot.problems.as_slice() else {
            panic!("{line}: {:?}", snapshot.problems);
        };
        assert_eq!(problem.device, "0000:01:10.0");
        assert!(problem.reason.contains(reason), "{}", problem.reason);
    }
}

/// A `ConnectX` in switchdev mode with a subfunction and vDPA: names and numbers are constructed, the structure is that of mlx5.
fn mlx5() -> Tree {
    let tree = igb();
    for line in "0000:01:00.0/net/a_rep/ifindex=9 0000:01:00.0/net/a_rep/type=1 0000:01:00.0/net/a_rep/phys_switch_id=b8 0000:01:00.0/net/a_rep/phys_port_name=pf0vf0
        0000:01:00.0/net/pf0/flags=0x1003 0000:01:00.0/net/pf0/carrier=1 0000:01:00.0/net/pf0/phys_switch_id=b8 0000:01:00.0/net/pf0/phys_port_name=p0
        0000:01:00.0/acpi_index=101
        0000:01:10.0/infiniband/mlx5_3/ports/1/pkeys/0=0xffff 0000:01:10.0/infiniband/mlx5_3/ports/1/pkeys/1=0x8001
        0000:01:10.0/net/eth2/flags=0x1002
        0000:01:10.2/vdpa0/driver>../../../bus/vdpa/drivers/vhost_vdpa
        0000:01:00.0/mlx5_core.sf.4/sfnum=88 0000:01:00.0/mlx5_core.sf.4/driver>../mlx5_core.sf 0000:01:00.0/mlx5_core.sf.4/net/sf88/ifindex=12
        0000:01:00.0/mlx5_core.sf.4/net/sf88/type=1 0000:01:00.0/mlx5_core.sf.4/infiniband/mlx5_9/node_type=1 0000:01:00.0/mlx5_core.eth.0/x=1
        0000:01:00.0/mlx5_core.sf.5/sfnum=many"
        .split_whitespace()
    {
        tree.add(line);
    }
    for (bus, name, device) in [
        ("vdpa", "vdpa0", "0000:01:10.2/vdpa0"),
        ("auxiliary", "mlx5_core.sf.4", "0000:01:00.0/mlx5_core.sf.4"),
        ("auxiliary", "mlx5_core.sf.5", "0000:01:00.0/mlx5_core.sf.5"),
        (
            "auxiliary",
            "mlx5_core.eth.0",
            "0000:01:00.0/mlx5_core.eth.0",
        ),
    ] {
        let dir = tree.root().join("sys/bus").join(bus).join("devices");
        fs::create_dir_all(&dir).unwrap();
        symlink(format!("../../pci/devices/{device}"), dir.join(name)).unwrap();
    }
    tree
}

#[test]
fn optional_attributes_are_read() {
    let snapshot = scan(&mlx5().root()).unwrap();
    let [pf, first, second] = ["0000:01:00.0", "0000:01:10.0", "0000:01:10.2"]
        .map(|name| snapshot.function(address(name)).unwrap());
    assert_eq!(pf.acpi_index.as_deref(), Some("101"));
    assert_eq!(
        (&first.rdma, first.pkey.as_deref()),
        (&vec!["mlx5_3".to_owned()], Some("0xffff"))
    );
    let vdpa = VdpaDevice {
        name: "vdpa0".into(),
        driver: Some("vhost_vdpa".into()),
    };
    assert_eq!((&second.vdpa, &first.vdpa), (&vec![vdpa], &vec![]));
    let uplink = pf.uplink().unwrap();
    assert_eq!(
        (uplink.name.as_str(), uplink.is_up, uplink.carrier),
        ("pf0", Some(true), Some(true))
    );
    let netdev = first.netdevs.first().unwrap();
    assert_eq!((netdev.is_up, netdev.carrier), (Some(false), None));
    assert_eq!(snapshot.link_type(second), Some(LinkType::Ether));
    let subfunction = snapshot.subfunctions.get("mlx5_core.sf.4").unwrap();
    assert_eq!(
        (
            subfunction.sfnum,
            subfunction.pf,
            subfunction.driver.as_deref()
        ),
        (88, pf.address, Some("mlx5_core.sf"))
    );
    assert_eq!(
        (subfunction.netdevs.len(), subfunction.rdma.as_slice()),
        (1, ["mlx5_9".to_owned()].as_slice())
    );
    let [problem] = snapshot.problems.as_slice() else {
        panic!("{:?}", snapshot.problems)
    };
    assert_eq!(
        (problem.device.as_str(), snapshot.subfunctions.len()),
        ("mlx5_core.sf.5", 1)
    );
}

#[test]
fn pf_with_changing_vfs_is_in_transition() {
    let check = |change: fn(&Tree), expected: Option<Transition>| {
        let tree = igb();
        change(&tree);
        let found = scan(&tree.root()).unwrap().in_transition;
        let expected = expected.map(|transition| (address("0000:01:00.0"), transition));
        assert_eq!(found, BTreeMap::from_iter(expected));
    };
    let unfinished = Some(Transition::Unfinished);
    check(|_| {}, None);
    // Both VFs exist, `sriov_numvfs` is not set yet.
    check(|tree| tree.add("0000:01:00.0/sriov_numvfs=0"), unfinished);
    // One VF was removed, its link first.
    check(
        |tree| {
            fs::remove_file(devices(&tree.root()).join("0000:01:00.0/virtfn0")).unwrap();
            fs::remove_dir_all(devices(&tree.root()).join("0000:01:10.0")).unwrap();
        },
        unfinished,
    );
    // The first VF was added, its link is missing yet.
    check(
        |tree| {
            tree.add("0000:01:00.0/sriov_numvfs=0");
            fs::remove_file(devices(&tree.root()).join("0000:01:00.0/virtfn0")).unwrap();
            fs::remove_file(devices(&tree.root()).join("0000:01:00.0/virtfn1")).unwrap();
            fs::remove_dir_all(devices(&tree.root()).join("0000:01:10.2")).unwrap();
        },
        unfinished,
    );
    // One VF was removed by hand.
    check(
        |tree| fs::remove_dir_all(devices(&tree.root()).join("0000:01:10.2")).unwrap(),
        Some(Transition::Torn),
    );
    // An unreadable VF was not removed.
    check(|tree| tree.add("0000:01:10.2/numa_node=one"), None);
    check(|tree| tree.add("0000:01:00.0/vendor=0x"), None);
}
