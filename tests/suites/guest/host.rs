//! Reads and changes of the package `host` on the node: real VFs, real namespaces, real errors of the kernel.

mod links;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use serde_json::Value;
use sriov_host::netlink::{LinkChange, Netlink, NetlinkError};
use sriov_host::netns::Netns;
use sriov_host::snapshot::{Netdev, SriovRole};
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::{Vlan, VlanProto};
use sriov_host::{HostRoot, IfName, MacAddr, PciAddress, VfIndex, sysfs};
use sriov_testkit::node::{self, Pf, ip_json, netdev_of};

const DEADLINE: Duration = Duration::from_secs(30);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn ifindex(netdev: &str) -> u32 {
    let text = fs::read_to_string(format!("/sys/class/net/{netdev}/ifindex")).unwrap();
    text.trim().parse().unwrap()
}

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn vlan(id: u16, qos: u8, proto: VlanProto) -> Vlan {
    Vlan {
        id: id.try_into().unwrap(),
        qos: qos.try_into().unwrap(),
        proto,
    }
}

fn words(error: &NetlinkError) -> String {
    format!("{error}: {}", error.source().unwrap())
}

#[test]
fn scan_shows_pfs_and_vfs_with_node_driver_and_links() {
    let pfs = [Pf::with_vfs(0, 3).unwrap(), Pf::with_vfs(1, 7).unwrap()];
    let root = HostRoot::default();
    let snapshot = sysfs::scan(&root).unwrap();
    assert_eq!(snapshot.problems, []);
    let on_disk = fs::read_dir("/sys/bus/pci/devices").unwrap().count();
    assert_eq!(snapshot.functions.len(), on_disk);
    for (node, (pf, count)) in (0..).zip(pfs.iter().zip([3, 7])) {
        let function = snapshot.function(pf.address.parse().unwrap()).unwrap();
        assert_eq!(function.numa_node, Some(node));
        assert_eq!(function.driver.as_deref(), Some("igb"));
        assert_eq!(sysfs::class_name(function.class), "NetworkController");
        let [netdev] = function.netdevs.as_slice() else {
            panic!("{function:?}");
        };
        assert_eq!(netdev.name.as_str(), pf.netdev);
        assert_eq!(netdev.ifindex, ifindex(&pf.netdev));
        let SriovRole::Pf { total_vfs: 7, vfs } = &function.role else {
            panic!("{function:?}");
        };
        assert_eq!(vfs.len(), count);
        for (index, address) in vfs {
            assert_eq!(
                pf.vf(index.get().into()).unwrap(),
                address.to_string(),
                "the index is the kernel's"
            );
            let vf = snapshot.function(*address).unwrap();
            assert_eq!(
                vf.role,
                SriovRole::Vf {
                    pf: function.address,
                    index: Some(*index)
                }
            );
            assert_eq!(snapshot.pf_of(vf), Some(function));
            assert_eq!(vf.numa_node, Some(node));
            assert_eq!(vf.driver.as_deref(), Some("igbvf"));
            let ids = format!("{}:{} {}", vf.vendor, vf.device, vf.class);
            assert_eq!(ids, "8086:10ca 020000");
            let netdev = vf.netdevs.first().unwrap();
            assert_eq!(
                netdev.name.as_str(),
                netdev_of(&address.to_string()).unwrap()
            );
        }
        let groups: BTreeSet<u32> = vfs
            .values()
            .map(|vf| snapshot.function(*vf).unwrap().iommu_group.unwrap().number)
            .collect();
        assert_eq!(groups.len(), count, "each VF has its own IOMMU group");
    }
    for (address, scanned) in &snapshot.functions {
        let alone = sysfs::presence(&root, *address).unwrap().unwrap();
        let vf_of = match scanned.role {
            SriovRole::Vf { pf, index } => Some((pf, index)),
            SriovRole::Pf { .. } | SriovRole::None => None,
        };
        assert_eq!((alone.vf_of, alone.driver), (vf_of, scanned.driver.clone()));
        let names = |netdevs: &[Netdev]| -> Vec<String> {
            let names = netdevs.iter().map(|netdev| netdev.name.to_string());
            names.collect()
        };
        assert_eq!(names(&alone.netdevs), names(&scanned.netdevs));
    }
    let first = sysfs::boot_id(&root).unwrap();
    assert_eq!(first.len(), 36, "{first}");
}

#[test]
fn each_setting_of_igb_is_set_read_back_and_restored() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let before = pf.baseline().unwrap();
    let index = ifindex(&pf.netdev);
    let vf = VfIndex::new(2);
    run(async {
        let netlink = Netlink::host(DEADLINE).unwrap();
        let read = async || netlink.vf_settings(index, vf).await.unwrap().unwrap();
        let was = read().await;
        let VfSettings {
            mac: Some(mac),
            vlan: Some(port_vlan),
            spoofchk: Some(spoofchk),
            trust: Some(trust),
            rate: Some(rate),
            link_state: Some(VfLinkState::Auto),
            node_guid: None,
            port_guid: None,
        } = was
        else {
            panic!("igb reports every setting: {was:?}");
        };
        let pairs = [
            (
                VfChange::Mac(MacAddr::new([2, 0, 0, 0, 0, 0x42])),
                VfChange::Mac(mac),
            ),
            (
                VfChange::Vlan(vlan(100, 3, VlanProto::Dot1q)),
                VfChange::Vlan(port_vlan),
            ),
            (VfChange::Spoofchk(!spoofchk), VfChange::Spoofchk(spoofchk)),
            (VfChange::Trust(!trust), VfChange::Trust(trust)),
            (
                VfChange::Rate(VfRate { min: 0, max: 200 }),
                VfChange::Rate(rate),
            ),
        ];
        for (change, _) in &pairs {
            let before = netlink.requests();
            assert_eq!(change.is_done(&was), Some(false), "{change}");
            netlink.set_vf(index, vf, change).await.unwrap();
            assert_eq!(change.is_done(&read().await), Some(true), "{change}");
            assert_eq!(netlink.requests(), before + 2, "{change}");
        }
        // The same result by iproute2.
        let shown = ip_json(None, &["link", "show", "dev", &pf.netdev]).unwrap();
        let list = shown[0]["vfinfo_list"].as_array().unwrap();
        let info = list.iter().find(|info| info["vf"] == 2).unwrap();
        let text = info.to_string();
        for part in [
            "\"02:00:00:00:00:42\"",
            "\"vlan\":100",
            "\"qos\":3",
            "\"max_tx\":200",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(info["spoofchk"], Value::Bool(!spoofchk));
        assert_eq!(info["trust"], Value::Bool(!trust));
        for (_, back) in &pairs {
            netlink.set_vf(index, vf, back).await.unwrap();
        }
        assert_eq!(read().await, was);
    });
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn setting_that_igb_refuses_changes_nothing() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let index = ifindex(&pf.netdev);
    let first = VfIndex::new(0);
    run(async {
        let netlink = Netlink::host(DEADLINE).unwrap();
        for (vf, change, errno) in [
            (
                first,
                VfChange::LinkState(VfLinkState::Enable),
                Errno::EOPNOTSUPP,
            ),
            (
                first,
                VfChange::Vlan(vlan(100, 0, VlanProto::Dot1ad)),
                Errno::EPROTONOSUPPORT,
            ),
            (
                first,
                VfChange::Rate(VfRate { min: 10, max: 200 }),
                Errno::EINVAL,
            ),
            (
                first,
                VfChange::PortGuid("02:00:00:00:00:00:00:08".parse().unwrap()),
                Errno::EOPNOTSUPP,
            ),
            (
                first,
                VfChange::Mac(MacAddr::new([1, 0, 0x5e, 0, 0, 1])),
                Errno::EINVAL,
            ),
            (VfIndex::new(5), VfChange::Trust(true), Errno::EINVAL),
        ] {
            let error = netlink.set_vf(index, vf, &change).await.unwrap_err();
            assert_eq!(error.errno(), Some(errno), "{}", words(&error));
            let expected = format!(
                "cannot set {change} of VF {vf} of link {index}: the kernel refuses it ({errno:?}"
            );
            assert!(words(&error).starts_with(&expected), "{}", words(&error));
        }
        let absent = netlink.vf_settings(index, VfIndex::new(5)).await.unwrap();
        assert_eq!(absent, None);
        let nowhere = netlink.set_vf(999_999, first, &VfChange::Trust(true)).await;
        assert_eq!(nowhere.unwrap_err().errno(), Some(Errno::ENODEV));
        assert_eq!(netlink.link(999_999).await.unwrap(), None);
        assert_eq!(netlink.link_named(&name("no-such")).await.unwrap(), None);
    });
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn message_of_the_kernel_is_quoted() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let netdev = netdev_of(&pf.vf(0).unwrap()).unwrap();
    run(async {
        let netlink = Netlink::host(DEADLINE).unwrap();
        let too_much = LinkChange::Mtu(60_000);
        let error = netlink
            .set_link(ifindex(&netdev), &too_much)
            .await
            .unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EINVAL));
        let words = words(&error);
        assert!(
            words.contains("(EINVAL: mtu greater than device maximum)"),
            "{words}"
        );
    });
}

#[test]
fn vf_returns_unchanged_from_a_namespace() {
    let pf = Pf::with_vfs(1, 2).unwrap();
    let before = pf.baseline().unwrap();
    let device: PciAddress = pf.vf(1).unwrap().parse().unwrap();
    let netdev = netdev_of(&device.to_string()).unwrap();
    let pod = node::Netns::new("host-move").unwrap();
    run(async {
        let here = Netns::current().unwrap();
        let there = Netns::open(&pod.path()).unwrap();
        assert_ne!(here.id(), there.id());
        let host = Netlink::host(DEADLINE).unwrap();
        let in_pod = Netlink::in_netns(&there, DEADLINE).unwrap();
        let was = host.link_of_device(device).await.unwrap().unwrap();
        assert_eq!(
            (was.name.to_str(), was.index),
            (Some(netdev.as_str()), ifindex(&netdev))
        );

        host.move_link(was.index, &there, &name("net1"))
            .await
            .unwrap();
        assert_eq!(host.link_of_device(device).await.unwrap(), None);
        let function = sysfs::presence(&HostRoot::default(), device).unwrap();
        assert_eq!(function.unwrap().netdevs, []);
        let link = in_pod.link_of_device(device).await.unwrap().unwrap();
        assert_eq!((link.name.to_str(), link.is_up), (Some("net1"), false));
        assert_eq!(
            in_pod.link_named(&name("net1")).await.unwrap().as_ref(),
            Some(&link)
        );

        in_pod
            .set_link(link.index, &LinkChange::Mtu(1400))
            .await
            .unwrap();
        let sysctl = "net/ipv4/conf/net1/arp_notify";
        let file = format!("/proc/sys/{sysctl}");
        let missed = there.write_sysctls(&[(sysctl.to_owned(), "1")]).unwrap();
        assert!(missed.is_empty(), "{missed:?}");
        let seen = there.run(|| fs::read_to_string(&file)).unwrap();
        assert_eq!(seen.unwrap().trim(), "1");
        assert!(fs::metadata(&file).is_err(), "the host has no net1");
        let missed = there.write_sysctls(&[("net/ipv4/conf/absent/forwarding".into(), "1")]);
        assert!(missed.unwrap()[0].to_string().contains("absent"));

        in_pod.set_link(link.index, &LinkChange::Up).await.unwrap();
        assert!(in_pod.link(link.index).await.unwrap().unwrap().is_up);
        for change in [LinkChange::Down, LinkChange::Mtu(was.mtu)] {
            in_pod.set_link(link.index, &change).await.unwrap();
        }
        in_pod
            .move_link(link.index, &here, &name(&netdev))
            .await
            .unwrap();
        let back = host.link_of_device(device).await.unwrap().unwrap();
        assert_eq!(
            (back.name, back.mac, back.mtu),
            (was.name, was.mac, was.mtu)
        );
        if was.is_up {
            host.set_link(back.index, &LinkChange::Up).await.unwrap();
        }
    });
    assert_eq!(pf.baseline().unwrap(), before);
}
