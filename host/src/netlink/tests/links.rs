//! Links, addresses and routes, through the real encoder to a kernel in memory.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::*;
use crate::RawName;
use crate::link::{CleanLink, LinkFlags, LinkLimit, LinkProperties, Qdisc, QdiscPlace, XdpMode};

#[test]
fn each_change_of_a_link_arrives_as_itself() {
    let name = |name: &str| name.parse().unwrap();
    let changes = [
        LinkChange::Up,
        LinkChange::Mac(MacAddr::new([2, 0, 0, 0, 0, 9])),
        LinkChange::Mtu(9000),
        LinkChange::AddAltName("enp1s16".into()),
        LinkChange::AddAltName("other".into()),
        LinkChange::DropAltName("other".into()),
        LinkChange::Down,
        LinkChange::Name(name("net1")),
        LinkChange::Flags(LinkFlags::NOARP | LinkFlags::PROMISC),
        LinkChange::QueueLength(7),
        LinkChange::Limit(LinkLimit::GsoMaxSize, 2000),
        LinkChange::Limit(LinkLimit::GsoMaxSegs, 20),
        LinkChange::Limit(LinkLimit::GroMaxSize, 3000),
        LinkChange::Limit(LinkLimit::GsoIpv4MaxSize, 1000),
        LinkChange::Limit(LinkLimit::GroIpv4MaxSize, 1500),
        LinkChange::Group(77),
        LinkChange::Alias(RawName::from_bytes(b"x\xff")),
        LinkChange::Broadcast(MacAddr::ZERO),
        LinkChange::Mode(1),
        LinkChange::DetachXdp(XdpMode::Native),
        LinkChange::DetachXdp(XdpMode::Generic),
        LinkChange::DetachXdp(XdpMode::Offloaded),
        LinkChange::Release,
    ];
    run(async {
        let kernel = kernel();
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        for change in &changes {
            netlink.set_link(PF, change).await.unwrap();
        }
        let expected = changes.map(|change| Request::SetLink { link: PF, change });
        assert_eq!(kernel.requests(), expected);
        let after = Link {
            altnames: vec!["enp1s16".into()],
            mac: Some(MacAddr::new([2, 0, 0, 0, 0, 9])),
            mtu: 9000,
            properties: Box::new(LinkProperties {
                flags: LinkFlags::NOARP | LinkFlags::PROMISC,
                promiscuity: 1,
                queue_length: Some(7),
                limits: BTreeMap::from([
                    (LinkLimit::GsoMaxSize, 2000),
                    (LinkLimit::GsoMaxSegs, 20),
                    (LinkLimit::GroMaxSize, 3000),
                    (LinkLimit::GsoIpv4MaxSize, 1000),
                    (LinkLimit::GroIpv4MaxSize, 1500),
                ]),
                group: 77,
                alias: Some(RawName::from_bytes(b"x\xff")),
                broadcast: Some(MacAddr::ZERO),
                mode: 1,
                ..LinkProperties::default()
            }),
            ..link(PF, "net1")
        };
        assert_eq!(
            netlink.link_named(&name("enp1s16")).await.unwrap(),
            Some(after.clone())
        );
        assert_eq!(netlink.link(PF).await.unwrap(), Some(after));
        assert_eq!(netlink.link(77).await.unwrap(), None);
        assert_eq!(netlink.link_named(&name("pf0")).await.unwrap(), None);
    });
}

/// A VF as its driver makes it.
fn probed() -> Link {
    let mut link = link(7, "eth2");
    link.qdisc = Some("noop".into());
    link.mtu_range = Some((68, 9216));
    link.queues = Some((2, 1));
    link.tso_max = Some((65536, 65535));
    *link.properties = LinkProperties {
        limits: BTreeMap::from([
            (LinkLimit::GsoMaxSize, 65536),
            (LinkLimit::GsoMaxSegs, 65535),
            (LinkLimit::GroMaxSize, 65536),
            (LinkLimit::GsoIpv4MaxSize, 65536),
            (LinkLimit::GroIpv4MaxSize, 65536),
        ]),
        ..CleanLink::probed(&link).properties
    };
    link
}

#[test]
fn link_that_a_pod_spoiled_is_clean_after_all_remedies() {
    let mut spoiled = probed();
    spoiled.name = RawName::from_bytes(b"x\xff");
    spoiled.altnames = (0..200)
        .map(|number| RawName::from_bytes(&[b'a', number, 0xff]))
        .collect();
    spoiled.mtu = 68;
    *spoiled.properties = LinkProperties {
        flags: LinkFlags::NOARP | LinkFlags::PROMISC | LinkFlags::ALLMULTI,
        promiscuity: 1,
        allmulti: 1,
        queue_length: Some(1),
        limits: probed()
            .properties
            .limits
            .into_keys()
            .map(|limit| (limit, 1000))
            .collect(),
        group: 77,
        alias: Some(RawName::from_bytes(&[0xff; 255])),
        broadcast: Some(MacAddr::ZERO),
        mode: 1,
        xdp: BTreeMap::from([(XdpMode::Native, 7), (XdpMode::Offloaded, 8)]),
        master: Some(PF),
    };
    run(async {
        let kernel = kernel();
        kernel.add_link(spoiled.clone());
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let found = netlink.link(7).await.unwrap().unwrap();
        assert_eq!(found, spoiled);
        let clean = CleanLink::of(&probed());
        for difference in clean.differences(&found) {
            // Those follow from the flags.
            if let Some(remedy) = difference.remedy {
                netlink.set_link(7, &remedy).await.unwrap();
            }
        }
        assert_eq!(netlink.link(7).await.unwrap(), Some(probed()));
        assert_eq!(clean.differences(&probed()), []);
    });
}

#[test]
fn device_is_known_where_the_message_does_not_have_it() {
    let device: crate::PciAddress = "0000:01:10.4".parse().unwrap();
    let address = "0000:01:10.4";
    for (parent, bus_info, expected) in [
        (Some(address), None, Some(device)),
        // Before Linux 5.14.
        (None, Some(address), Some(device)),
        (Some("virtio3"), Some(address), Some(device)),
        (Some("mlx5_core.sf.4"), Some("mlx5_core.sf.4"), None),
        (None, None, None),
    ] {
        run(async {
            let kernel = kernel();
            kernel.add_link(probed());
            kernel.set_parent(7, parent, bus_info);
            let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
            let link = netlink.link(7).await.unwrap().unwrap();
            assert_eq!(link.device, expected, "{parent:?} {bus_info:?}");
            let found = netlink.link_of_device(device).await.unwrap();
            assert_eq!(found.map(|link| link.index), expected.map(|_| 7));
        });
    }
}

#[test]
fn link_that_was_made_on_demand_has_no_device_of_its_own() {
    run(async {
        let kernel = kernel();
        kernel.add_link(Link {
            kind: Some("vlan".into()),
            ..link(7, "eth2.100")
        });
        kernel.set_parent(7, None, Some("0000:01:10.4"));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        assert_eq!(netlink.link(7).await.unwrap().unwrap().device, None);
    });
}

#[test]
fn explicit_queue_disciplines_are_found_and_deleted() {
    let qdisc = |kind: &str, place, is_explicit| Qdisc {
        kind: kind.into(),
        place,
        is_explicit,
    };
    let (root, ingress) = (QdiscPlace::Root, QdiscPlace::Ingress);
    run(async {
        let kernel = kernel();
        kernel.add_link(probed());
        kernel.add_qdisc(PF, qdisc("mq", root, false));
        kernel.add_qdisc(7, qdisc("prio", root, true));
        kernel.add_qdisc(7, qdisc("clsact", ingress, true));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let found = netlink.qdiscs(7).await.unwrap();
        assert_eq!(
            found,
            [qdisc("prio", root, true), qdisc("clsact", ingress, true)]
        );
        for difference in found.iter().filter_map(Qdisc::difference) {
            netlink
                .set_link(7, &difference.remedy.unwrap())
                .await
                .unwrap();
        }
        assert_eq!(netlink.qdiscs(7).await.unwrap(), []);
        let own = netlink.qdiscs(PF).await.unwrap();
        assert_eq!(own.iter().find_map(Qdisc::difference), None);
    });
}

#[test]
fn neighbours_are_those_of_the_link() {
    let address = "192.0.2.9".parse().unwrap();
    run(async {
        let kernel = kernel();
        kernel.add_link(probed());
        kernel.add_neighbour(7, address);
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        assert_eq!(netlink.neighbours(7).await.unwrap(), [address]);
        assert!(netlink.neighbours(PF).await.unwrap().is_empty());
        let own = "192.0.2.10".parse().unwrap();
        netlink.resolve(PF, own).await.unwrap();
        assert_eq!(netlink.neighbours(PF).await.unwrap(), [own]);
        let gone = netlink.resolve(99, own).await.unwrap_err();
        assert_eq!(gone.errno(), Some(Errno::ENODEV));
    });
}

#[test]
fn promiscuity_of_an_upper_device_stays_without_remedy() {
    let mut link = probed();
    link.properties.promiscuity = 1;
    let differences = CleanLink::probed(&link).differences(&link);
    assert!(matches!(differences.as_slice(), [one] if one.remedy.is_none()));
}

#[test]
fn move_is_one_message_and_keeps_the_device() {
    let device: crate::PciAddress = "0000:01:10.4".parse().unwrap();
    run(async {
        let (host, pod) = (kernel(), FakeKernel::default());
        host.add_link(Link {
            device: Some(device),
            is_up: true,
            ..link(7, "eth2")
        });
        pod.add_link(link(1, "lo"));
        let target = Netns::current().unwrap();
        host.add_namespace(target.id(), &pod);
        let netlink = Netlink::fake(&host, PATIENT).unwrap();
        netlink
            .move_link(7, &target, &"net1".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(
            host.requests(),
            [Request::MoveLink {
                link: 7,
                target: target.id(),
                name: "net1".to_owned()
            }]
        );
        assert_eq!(netlink.link_of_device(device).await.unwrap(), None);
        let there = Netlink::fake(&pod, PATIENT).unwrap();
        let moved = there.link_of_device(device).await.unwrap().unwrap();
        assert_eq!(
            (moved.name, moved.is_up, moved.device),
            ("net1".into(), false, Some(device))
        );
        let again = there
            .move_link(moved.index, &target, &"net1".parse().unwrap())
            .await;
        assert_eq!(again.unwrap_err().errno(), Some(Errno::EINVAL));
    });
}

#[test]
fn taken_name_is_refused_after_the_move() {
    for (taken, moves) in [(&["net1"][..], true), (&["net1", "pf0"], false)] {
        run(async {
            let (host, pod) = (kernel(), FakeKernel::default());
            for (index, name) in (10..).zip(taken) {
                pod.add_link(link(index, name));
            }
            let target = Netns::current().unwrap();
            host.add_namespace(target.id(), &pod);
            let netlink = Netlink::fake(&host, PATIENT).unwrap();
            let name = "net1".parse().unwrap();
            let error = netlink.move_link(PF, &target, &name).await.unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EEXIST));
            assert_eq!(host.link(PF).is_none(), moves);
            assert_eq!(pod.link(PF), moves.then(|| link(PF, "pf0")));
        });
    }
}

#[test]
fn addresses_are_those_of_the_link() {
    let nets: [IpNet; 3] =
        ["192.0.2.7/24", "198.51.100.1/32", "2001:db8::7/64"].map(|text| text.parse().unwrap());
    run(async {
        let kernel = kernel();
        kernel.add_link(link(1, "lo"));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let loopback = "127.0.0.1/8".parse().unwrap();
        netlink.add_address(1, loopback).await.unwrap();
        for net in nets {
            netlink.add_address(PF, net).await.unwrap();
        }
        assert_eq!(kernel.addresses(PF), nets);
        assert_eq!(netlink.addresses(PF).await.unwrap(), nets);
        assert_eq!(netlink.addresses(1).await.unwrap(), [loopback]);
    });
}

fn route(dst: &str, gw: Option<&str>) -> Route {
    Route {
        dst: dst.parse().unwrap(),
        gw: gw.map(|gw| gw.parse().unwrap()),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    }
}

#[test]
fn route_is_added_and_read_with_all_attributes() {
    let full = Route {
        mtu: Some(1400),
        advmss: Some(1360),
        priority: Some(200),
        table: Some(5000),
        scope: Some(200),
        ..route("203.0.113.0/24", Some("192.0.2.1"))
    };
    // Each route with the table and the scope that the kernel gives to it.
    let cases = [
        (route("0.0.0.0/0", Some("192.0.2.1")), 254, 0),
        (route("10.0.0.0/8", None), 254, 253),
        (route("::/0", Some("2001:db8::1")), 254, 0),
        (route("2001:db8:1::/48", None), 254, 0),
        (full, 5000, 200),
    ];
    run(async {
        let kernel = kernel();
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        let first = &cases[0].0;
        let down = netlink.add_route(PF, first).await.unwrap_err();
        assert_eq!(down.errno(), Some(Errno::ENETDOWN));
        netlink.set_link(PF, &LinkChange::Up).await.unwrap();
        for (wanted, ..) in &cases {
            netlink.add_route(PF, wanted).await.unwrap();
        }
        let kept: Vec<Route> = cases
            .iter()
            .map(|(wanted, table, scope)| Route {
                table: Some(*table),
                scope: Some(*scope),
                ..wanted.clone()
            })
            .collect();
        assert_eq!(kernel.routes(PF), kept);
        assert_eq!(netlink.routes().await.unwrap(), kept);
        // An identical route counts as success, another one stands next to it.
        netlink.add_route(PF, first).await.unwrap();
        assert_eq!(kernel.routes(PF), kept);
        for (dst, gw) in [("0.0.0.0/0", "192.0.2.2"), ("::/0", "2001:db8::2")] {
            let other = route(dst, Some(gw));
            netlink.add_route(PF, &other).await.unwrap();
            let routes = kernel.routes(PF);
            assert_eq!(
                routes.iter().filter(|kept| kept.dst == other.dst).count(),
                2
            );
        }
    });
}

#[test]
fn probe_changes_nothing() {
    run(async {
        let kernel = kernel();
        kernel.add_link(link(1, "lo"));
        let netlink = Netlink::fake(&kernel, PATIENT).unwrap();
        netlink.probe().await.unwrap();
        assert_eq!(kernel.requests(), [Request::Probe(1)]);
        kernel.fail_when(|_, _| true, Failure::errno(Errno::EPERM));
        let refused = netlink.probe().await.unwrap_err();
        assert!(chain(&refused).ends_with("this needs CAP_NET_ADMIN"));
    });
}
