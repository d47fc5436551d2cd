//! Facts that a device has from its PF, and those that it has of its own.

use sriov_host::snapshot::BeforePod;

use super::*;

#[test]
fn devices_share_what_is_known_of_their_pf() {
    let mut snapshot = machine();
    let pf = snapshot.functions.get_mut(&"0000:01:00.0".parse().unwrap());
    let pf = pf.unwrap();
    pf.pcie_root = Some("pci0000:20".parse().unwrap());
    pf.speed = Some(25_000);
    pf.device = PciId(0x1017);
    let representor = Netdev {
        phys_switch_id: Some("b8".to_owned()),
        phys_port_name: Some("pf0vf0".to_owned()),
        ..Netdev::example("rep0".parse().unwrap())
    };
    pf.netdevs.push(representor);
    let config =
        r#"{"resourceList": [{"resourceName": "a", "selectors": {"drivers": ["igbvf"]}}]}"#;
    let config = ResourceList::parse(config, "x.y").unwrap();
    let pools = plan_pools(&snapshot, &config, &NodeUses::new());
    let lines = pools.pools[0].devices.iter().map(|device| {
        let pf = device.pf.as_ref().unwrap();
        let root = device.pcie_root.map(|root| root.to_string());
        format!(
            "{}: {root:?}, PF {} {:?} Mbit/s, switchdev {}\n",
            device.id, pf.device, pf.speed, pf.is_switchdev
        )
    });
    expect![[r#"
        0000:01:10.1: Some("pci0000:20"), PF 1017 Some(25000) Mbit/s, switchdev true
        0000:01:10.2: Some("pci0000:20"), PF 1017 Some(25000) Mbit/s, switchdev true
        0000:01:10.3: Some("pci0000:20"), PF 1017 Some(25000) Mbit/s, switchdev true
        0000:02:10.1: None, PF 10ca None Mbit/s, switchdev false
        0000:02:10.2: None, PF 10ca None Mbit/s, switchdev false
        0000:02:10.3: None, PF 10ca None Mbit/s, switchdev false
    "#]]
    .assert_eq(&lines.collect::<String>());
}

#[test]
fn rdma_of_a_vf_in_a_pod_is_that_of_the_vf() {
    let config = r#"{"resourceList": [{"resourceName": "a", "selectors": {"isRdma": true}}]}"#;
    let config = ResourceList::parse(config, "x.y").unwrap();
    let before_pod = |has_rdma| {
        let link_type = LinkType::Ether;
        Some(BeforePod {
            has_rdma,
            link_type,
        })
    };
    // Without an earlier scan, the VF is taken to have what its PF has.
    for (before_pod, expected) in [
        (None, true),
        (before_pod(true), true),
        (before_pod(false), false),
    ] {
        let mut snapshot = machine();
        let mut function = |address: &str| {
            let function = snapshot.functions.remove(&address.parse().unwrap());
            function.unwrap()
        };
        let (mut pf, mut vf) = (function("0000:01:00.0"), function("0000:01:10.1"));
        pf.rdma = vec!["mlx5_0".to_owned()];
        (pf.driver, vf.driver) = (Some("mlx5_core".into()), Some("mlx5_core".into()));
        (vf.netdevs, vf.before_pod) = (Vec::new(), before_pod);
        snapshot
            .functions
            .extend([pf, vf].map(|function| (function.address, function)));
        let pools = plan_pools(&snapshot, &config, &NodeUses::new());
        let id: DeviceId = "0000:01:10.1".parse().unwrap();
        let is_matched = pools.pools[0].ids().contains(&id);
        assert_eq!(is_matched, expected, "{before_pod:?}");
    }
}
