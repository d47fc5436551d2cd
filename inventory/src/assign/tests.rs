//! Pools on a machine with two PFs of four VFs each, one of them an uplink's PF, and a NIC without SR-IOV.

mod pf;

use expect_test::{Expect, expect};
use sriov_host::snapshot::{LinkType, PciClass, PciId, RdmaLink};
use sriov_host::{IfName, VfIndex};

use super::*;
use crate::node_use::Purpose;

fn used(netdev: &str, purpose: Purpose, through: Option<&str>) -> (String, NodeUse) {
    let through = through.map(str::to_owned);
    (netdev.to_owned(), NodeUse { purpose, through })
}

fn function(
    address: &str,
    driver: Option<&str>,
    netdev: Option<&str>,
    role: SriovRole,
) -> PciFunction {
    let netdev = netdev.map(|name| Netdev::example(name.parse().unwrap()));
    PciFunction {
        driver: driver.map(str::to_owned),
        numa_node: Some(0),
        role,
        netdevs: netdev.into_iter().collect(),
        ..PciFunction::example(address.parse().unwrap())
    }
}

fn machine() -> HostSnapshot {
    let mut snapshot = HostSnapshot::default();
    let mut add = |function: PciFunction| snapshot.functions.insert(function.address, function);
    for bus in 1..=2 {
        let pf = format!("0000:0{bus}:00.0");
        let vf = |index: u16| format!("0000:0{bus}:10.{index}");
        let vfs = (0..4)
            .map(|index| (VfIndex::new(index), vf(index).parse().unwrap()))
            .collect();
        add(function(
            &pf,
            Some("igb"),
            Some(&format!("pf{bus}")),
            SriovRole::Pf { total_vfs: 7, vfs },
        ));
        for index in 0..4 {
            let role = SriovRole::Vf {
                pf: pf.parse().unwrap(),
                index: Some(VfIndex::new(index)),
            };
            let driver = match index {
                0 => "vfio-pci",
                _ => "igbvf",
            };
            add(function(&vf(index), Some(driver), None, role));
        }
    }
    add(function(
        "0000:03:00.0",
        Some("e1000"),
        Some("eth0"),
        SriovRole::None,
    ));
    add(function("0000:04:00.0", None, None, SriovRole::None));
    snapshot
}

fn check(resources: &str, expected: &Expect) {
    let config =
        ResourceList::parse(&format!(r#"{{"resourceList": [{resources}]}}"#), "x.y").unwrap();
    let uplinks = NodeUses::from([used("eth0", Purpose::DefaultRoute, None)]);
    let plan = plan_pools(&machine(), &config, &uplinks);
    let pools = plan.pools.iter().map(|pool| {
        let devices: Vec<String> = pool
            .devices
            .iter()
            .map(|device| device.id.to_string())
            .collect();
        format!("{}: {}\n", pool.name, devices.join(" "))
    });
    let left = plan
        .left_out
        .iter()
        .filter(|(_, why)| **why != LeftOut::NoSelector)
        .map(|(address, why)| format!("{address}: {why}\n"));
    expected.assert_eq(&pools.chain(left).collect::<Vec<_>>().concat());
}

#[test]
fn vfs_of_both_pfs_by_name_and_range() {
    check(
        r#"{"resourceName": "a", "selectors": {"pfNames": ["pf1#1-2"]}},
           {"resourceName": "b", "selectors": [{"pfNames": ["PF2#0", "pf2#3"]}]},
           {"resourceName": "c", "selectors": {"drivers": ["vfio-pci"]}}"#,
        &expect![[r"
            x.y/a: 0000:01:10.1 0000:01:10.2
            x.y/b: 0000:02:10.0 0000:02:10.3
            x.y/c: 0000:01:10.0
            0000:01:00.0: it is a PF with VFs
            0000:02:00.0: it is a PF with VFs
            0000:03:00.0: it carries a default route
            0000:04:00.0: no driver is bound to it
        "]],
    );
}

#[test]
fn device_of_the_node_is_offered_only_by_its_address() {
    let port = Purpose::Port("br0".to_owned());
    let uses = NodeUses::from([used("eth0", port, Some("eth0.100"))]);
    let eth0: DeviceId = "0000:03:00.0".parse().unwrap();
    for (selectors, is_offered) in [
        (r#"{"drivers": ["e1000"]}"#, false),
        (r#"{"pfNames": ["eth0"]}"#, false),
        (r#"{"pciAddresses": ["0000:04:00.0"]}"#, false),
        (
            r#"{"pciAddresses": ["0000:03:00.0"], "drivers": ["igb"]}"#,
            false,
        ),
        (r#"[{}, {"pciAddresses": ["0000:03:00.0"]}]"#, true),
    ] {
        let config =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        let config = ResourceList::parse(&config, "x.y").unwrap();
        let plan = plan_pools(&machine(), &config, &uses);
        let ids = plan.pools[0].ids();
        assert_eq!(ids.contains(&eth0), is_offered, "{selectors}");
        let reason = "it is a port of `br0` through `eth0.100`";
        let why = plan.left_out.get(&eth0).map(ToString::to_string);
        let warning = plan.in_use.get(&eth0).map(ToString::to_string);
        assert_eq!(why.as_deref(), (!is_offered).then_some(reason));
        assert_eq!(warning.as_deref(), is_offered.then_some(reason));
    }
}

/// A PF before its VFs are created, or while they are created again.
#[test]
fn pf_without_vfs_is_not_offered_in_their_place() {
    let mut snapshot = machine();
    for pf in ["0000:01:00.0", "0000:02:00.0"] {
        let pf = snapshot.functions.get_mut(&pf.parse().unwrap()).unwrap();
        let vfs = BTreeMap::new();
        pf.role = SriovRole::Pf { total_vfs: 7, vfs };
    }
    let without = Some(LeftOut::PfWithoutVfs);
    let unmatched = Some(LeftOut::NoSelector);
    for (selectors, first, second) in [
        (r#"{"pfNames": ["pf1"]}"#, &without, &unmatched),
        (
            r#"{"rootDevices": ["0000:01:00.0", "0000:02:00.0#0-3"]}"#,
            &without,
            &without,
        ),
        (
            r#"[{"pfNames": ["pf1#0-3"]}, {"drivers": ["igb"], "pfNames": ["pf2"]}]"#,
            &without,
            &without,
        ),
        // The VFs will have another id and driver.
        (
            r#"{"devices": ["10ca"], "drivers": ["vfio-pci"], "pfNames": ["pf2"]}"#,
            &unmatched,
            &without,
        ),
        (
            r#"{"pfNames": ["pf1"], "rootDevices": ["0000:02:00.0"]}"#,
            &unmatched,
            &unmatched,
        ),
        // As the Go plugin offers it.
        (r#"{"pciAddresses": ["0000:01:00.0"]}"#, &None, &unmatched),
        (r#"{"drivers": ["igb"]}"#, &None, &None),
    ] {
        let config =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        let config = ResourceList::parse(&config, "x.y").unwrap();
        let plan = plan_pools(&snapshot, &config, &NodeUses::new());
        for (pf, expected) in [("0000:01:00.0", first), ("0000:02:00.0", second)] {
            let why = plan.left_out.get(&pf.parse().unwrap());
            assert_eq!(why, expected.as_ref(), "{selectors} {pf}");
        }
    }
}

#[test]
fn the_first_resource_gets_the_device_and_uplinks_are_left_out() {
    check(
        r#"{"resourceName": "a", "selectors": {"rootDevices": ["0000:01:00.0#0-1"]}}, {"resourceName": "all", "selectors": {"vendors": ["8086"]}}"#,
        &expect![[r"
            x.y/a: 0000:01:10.0 0000:01:10.1
            x.y/all: 0000:01:10.2 0000:01:10.3 0000:02:10.0 0000:02:10.1 0000:02:10.2 0000:02:10.3
            0000:01:00.0: it is a PF with VFs
            0000:02:00.0: it is a PF with VFs
            0000:03:00.0: it carries a default route
            0000:04:00.0: no driver is bound to it
        "]],
    );
}

#[test]
fn a_vf_without_netdev_has_the_link_type_of_its_pf() {
    check(
        r#"{"resourceName": "ib", "selectors": {"linkTypes": ["infiniband"]}}, {"resourceName": "e", "selectors": {"linkTypes": ["ether"], "pfNames": ["pf1"]}}"#,
        &expect![[r"
            x.y/ib: 
            x.y/e: 0000:01:10.0 0000:01:10.1 0000:01:10.2 0000:01:10.3
            0000:01:00.0: it is a PF with VFs
            0000:02:00.0: it is a PF with VFs
            0000:03:00.0: it carries a default route
            0000:04:00.0: no driver is bound to it
        "]],
    );
}

#[test]
fn a_representor_is_found_by_the_name_of_its_port() {
    let port = |name: &str, port: &str, switch: Option<&str>| Netdev {
        phys_switch_id: switch.map(str::to_owned),
        phys_port_name: Some(port.to_owned()),
        ..Netdev::example(name.parse().unwrap())
    };
    let mut pf = function("0000:01:00.0", None, None, SriovRole::None);
    pf.netdevs = vec![
        port("up", "p0", Some("1")),
        port("rep11", "pf0vf11", Some("1")),
        port("rep1", "pf0vf1", Some("1")),
        port("dpu2", "c1pf0vf2", Some("1")),
        port("sf3", "pf0sf3", Some("1")),
        port("ef5", "p0pf0vf5", Some("1")),
        port("legacy4", "pf0vf4", None),
    ];
    for (index, expected) in [
        (1, Some("rep1")),
        (11, Some("rep11")),
        (2, Some("dpu2")),
        (5, Some("ef5")),
        (3, None),
        (4, None),
    ] {
        let found = representor(&pf, &format!("vf{index}"));
        assert_eq!(found.as_ref().map(IfName::as_str), expected, "{index}");
    }
}

/// InfiniBand, RDMA, vDPA, an accelerator of another class, and a PF in switchdev mode whose representor comes first.
#[test]
fn rare_properties_are_matched() {
    let mut snapshot = machine();
    let mut change = |address: &str, change: fn(&mut PciFunction)| {
        let function = snapshot.functions.get_mut(&address.parse().unwrap());
        change(function.unwrap());
    };
    change("0000:01:00.0", |pf| {
        let mut representor = pf.netdevs[0].clone();
        pf.netdevs[0].altnames = vec!["enp1s0np0".to_owned()];
        pf.netdevs[0].phys_switch_id = Some("b8".into());
        pf.netdevs[0].phys_port_name = Some("p0".into());
        representor.name = "a0".parse().unwrap();
        representor.phys_switch_id = Some("b8".into());
        representor.phys_port_name = Some("pf0vf0".into());
        pf.netdevs.insert(0, representor);
    });
    change("0000:01:10.1", |vf| {
        vf.acpi_index = Some("101".into());
        vf.rdma = vec!["mlx5_3".into()];
    });
    change("0000:01:10.2", |vf| {
        vf.vdpa = vec![sriov_host::snapshot::VdpaDevice {
            name: "vdpa0".into(),
            driver: Some("vhost_vdpa".into()),
        }];
    });
    change("0000:02:00.0", |pf| {
        pf.netdevs[0].link_type = LinkType::Infiniband;
    });
    change("0000:02:10.1", |vf| vf.pkey = Some("0x8001".into()));
    change("0000:01:10.3", |vf| vf.pkey = Some("0x8001".into()));
    change("0000:03:00.0", |qat| qat.class = PciClass(0x0b_4000));
    // In the kernel's exclusive mode VF 3 took its RDMA device into a pod; VF 2 has a driver of its own and none.
    change("0000:02:00.0", |pf| pf.rdma = vec!["mlx5_0".into()]);
    change("0000:02:10.3", |vf| vf.driver = Some("igb".into()));
    let comms = (
        "0000:01:00.0".parse().unwrap(),
        "ICE COMMS Package".to_owned(),
    );
    snapshot.ddp_profiles.extend([comms]);
    for (selectors, expected) in [
        (r#"{"pfNames": ["a0"]}"#, ""),
        (r#"{"pfNames": ["PF1#0-1"]}"#, "0000:01:10.0 0000:01:10.1"),
        (r#"{"pfNames": ["enp1s0np0#3"]}"#, "0000:01:10.3"),
        (r#"{"acpiIndexes": ["7", "101"]}"#, "0000:01:10.1"),
        (r#"{"isRdma": true}"#, "0000:01:10.1 0000:02:10.3"),
        (r#"{"vdpaType": "vhost"}"#, "0000:01:10.2"),
        (r#"{"vdpaType": "virtio"}"#, ""),
        (r#"{"pKeys": ["0x1"]}"#, "0000:02:10.1"),
        (r#"{"pKeys": ["0x8001"]}"#, "0000:02:10.1"),
        (r#"{"pKeys": ["0x2", "0x8002"]}"#, ""),
        (
            r#"{"linkTypes": ["infiniband"], "drivers": ["vfio-pci"]}"#,
            "0000:02:10.0",
        ),
        (r#"{"ddpProfiles": ["GTPv1-C/U IPv4/IPv6 payload"]}"#, ""),
        (
            r#"{"ddpProfiles": ["x", "ICE COMMS Package"], "pfNames": ["pf1#0", "pf2#0"]}"#,
            "0000:01:10.0",
        ),
        (r#"[{"pciAddresses": ["0000:03:00.0"]}]"#, ""),
        (
            r#"[{"pciAddresses": ["0000:03:00.0"]}], "pciClasses": ["0b40"]"#,
            "0000:03:00.0",
        ),
        (
            r#"{}, "deviceType": "accelerator", "pciClasses": ["12", "0b"]"#,
            "0000:03:00.0",
        ),
    ] {
        let config =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        let config = ResourceList::parse(&config, "x.y").unwrap();
        let plan = plan_pools(&snapshot, &config, &NodeUses::new());
        let devices: Vec<String> = plan.pools[0]
            .devices
            .iter()
            .map(|device| device.id.to_string())
            .collect();
        assert_eq!(devices.join(" "), expected, "{selectors}");
    }
}

#[test]
fn infiniband_without_ipoib_matches_link_type_and_partition() {
    let mut snapshot = machine();
    let pf = snapshot.functions.get_mut(&"0000:01:00.0".parse().unwrap());
    let pf = pf.unwrap();
    pf.netdevs.clear();
    pf.rdma_link = Some(RdmaLink::Infiniband { is_active: false });
    let vf = snapshot.functions.get_mut(&"0000:01:10.1".parse().unwrap());
    vf.unwrap().pkey = Some("0x8001".to_owned());
    for (selectors, expected) in [
        (
            r#"{"linkTypes": ["infiniband"], "drivers": ["igbvf"]}"#,
            "0000:01:10.1 0000:01:10.2 0000:01:10.3",
        ),
        (r#"{"pKeys": ["0x1"]}"#, "0000:01:10.1"),
    ] {
        let config =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        let config = ResourceList::parse(&config, "x.y").unwrap();
        let plan = plan_pools(&snapshot, &config, &NodeUses::new());
        let ids: Vec<String> = plan.pools[0]
            .ids()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ids.join(" "), expected, "{selectors}");
    }
}

/// A subfunction has its own number, link type and RDMA; everything else is that of its PF.
#[test]
fn subfunctions_match_by_their_own_facts_and_their_pf() {
    let mut snapshot = machine();
    let netdevs = |address: &str| {
        let function = snapshot.function(address.parse().unwrap());
        function.unwrap().netdevs.clone()
    };
    let mut netdev = netdevs("0000:03:00.0").remove(0);
    netdev.link_type = LinkType::Infiniband;
    let subfunction = |number: u32, pf: &str, netdevs| Subfunction {
        name: format!("mlx5_core.sf.{number}"),
        pf: pf.parse().unwrap(),
        sfnum: number + 10,
        driver: Some("mlx5_core.sf".into()),
        netdevs,
        rdma: Vec::new(),
    };
    let mut all = [
        subfunction(1, "0000:01:00.0", Vec::new()),
        subfunction(2, "0000:01:00.0", vec![netdev]),
        subfunction(3, "0000:09:00.0", Vec::new()),
    ];
    all[0].rdma = vec!["mlx5_1".into()];
    for subfunction in all {
        let name = subfunction.name.clone();
        snapshot.subfunctions.insert(name, subfunction);
    }
    let plan = |selector: &str| {
        let config = format!(
            r#"{{"resourceList": [{{"resourceName": "a", "deviceType": "auxNetDevice", "selectors": {{"auxTypes": ["sf"]{selector}}}}}]}}"#
        );
        let config = ResourceList::parse(&config, "x.y").unwrap();
        plan_pools(&snapshot, &config, &NodeUses::new())
    };
    for (selector, expected) in [
        ("", "1 2"),
        (r#", "pfNames": ["pf1#11", "pf2"]"#, "1"),
        (r#", "rootDevices": ["0000:01:00.0#0-9,12"]"#, "2"),
        (r#", "linkTypes": ["ether"]"#, "1"),
        (r#", "linkTypes": ["infiniband"]"#, "2"),
        (r#", "isRdma": true"#, "1"),
        (r#", "drivers": ["igb"]"#, "1 2"),
        (r#", "drivers": ["mlx5_core.sf"]"#, ""),
        (r#", "pciAddresses": ["0000:01:00.0"]"#, "1 2"),
        (r#", "pciAddresses": ["0000:02:00.0"]"#, ""),
        (r#", "devices": ["10ca"], "acpiIndexes": ["1"]"#, ""),
    ] {
        let plan = plan(selector);
        let devices = plan.pools[0].devices.iter();
        let numbers: Vec<String> = devices
            .map(|device| device.id.to_string().replace("mlx5_core.sf.", ""))
            .collect();
        assert_eq!(numbers.join(" "), expected, "{selector}");
    }
    let left_out = plan("").left_out;
    assert_eq!(
        left_out.into_iter().collect::<Vec<_>>(),
        [("mlx5_core.sf.3".parse().unwrap(), LeftOut::NoPf)]
    );
}
