//! Addresses, routes, names and namespaces of links.

use nix::errno::Errno;
use sriov_host::netlink::{LinkChange, Netlink, Route};
use sriov_host::netns::Netns;
use sriov_host::{PciAddress, RawName};
use sriov_testkit::node::{self, Pf, ip, ip_json, netdev_of};

use super::{DEADLINE, ifindex, name, run};

#[test]
fn addresses_and_routes_are_read_back_completely() {
    let pod = node::Netns::new("host-routes").unwrap();
    ip(&["-n", &pod.name, "link", "add", "net1", "type", "dummy"]).unwrap();
    run(async {
        let there = Netns::open(&pod.path()).unwrap();
        let in_pod = Netlink::in_netns(&there, DEADLINE).unwrap();
        let link = in_pod.link_named(&name("net1")).await.unwrap().unwrap();
        for address in ["192.0.2.7/24", "2001:db8::7/64"] {
            let address = address.parse().unwrap();
            in_pod.add_address(link.index, address).await.unwrap();
            // A repetition succeeds.
            in_pod.add_address(link.index, address).await.unwrap();
            let addresses = in_pod.addresses(link.index).await.unwrap();
            assert!(addresses.contains(&address), "{addresses:?}");
        }
        in_pod.set_link(link.index, &LinkChange::Up).await.unwrap();
        let route = Route {
            dst: "198.51.100.0/24".parse().unwrap(),
            gw: Some("192.0.2.1".parse().unwrap()),
            mtu: Some(1300),
            advmss: Some(1200),
            priority: Some(77),
            table: None,
            scope: None,
        };
        in_pod.add_route(link.index, &route).await.unwrap();
        let on_link = Route {
            dst: "203.0.113.0/24".parse().unwrap(),
            gw: None,
            table: Some(5000),
            ..route.clone()
        };
        in_pod.add_route(link.index, &on_link).await.unwrap();
        in_pod.add_route(link.index, &route).await.unwrap();
        let found = in_pod.routes().await.unwrap();
        for (wanted, table, scope) in [(&route, 254, 0), (&on_link, 5000, 253)] {
            let kept = Route {
                table: Some(table),
                scope: Some(scope),
                ..wanted.clone()
            };
            assert!(found.contains(&kept), "{kept:?} in {found:?}");
        }
        let shown = ip_json(Some(&pod.name), &["route", "show", "198.51.100.0/24"]).unwrap();
        let shown = &shown[0];
        assert_eq!(
            (&shown["gateway"], &shown["metric"], &shown["dev"]),
            (&"192.0.2.1".into(), &77.into(), &"net1".into())
        );
        assert_eq!(shown["metrics"][0]["mtu"], 1300, "{shown}");
        assert_eq!(shown["metrics"][0]["advmss"], 1200, "{shown}");
        let shown = ip_json(Some(&pod.name), &["route", "show", "table", "5000"]).unwrap();
        assert_eq!(shown[0]["dst"], "203.0.113.0/24");
        assert_eq!(shown[0]["scope"], "link", "{shown}");
        // An IPv6 route needs no finished duplicate address detection, only a gateway on the link.
        let v6 = Route {
            dst: "2001:db8:1::/48".parse().unwrap(),
            gw: Some("2001:db8::1".parse().unwrap()),
            mtu: Some(1300),
            ..route
        };
        in_pod.add_route(link.index, &v6).await.unwrap();
        let kept = Route {
            table: Some(254),
            scope: Some(0),
            advmss: Some(1200),
            ..v6
        };
        let found = in_pod.routes().await.unwrap();
        assert!(found.contains(&kept), "{kept:?} in {found:?}");
    });
}

#[test]
fn taken_name_fails_after_the_move() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let netdev = netdev_of(&pf.vf(0).unwrap()).unwrap();
    let device: PciAddress = pf.vf(0).unwrap().parse().unwrap();
    let pod = node::Netns::new("host-taken").unwrap();
    let occupy = |name: &str| ip(&["-n", &pod.name, "link", "add", name, "type", "dummy"]);
    occupy("net1").unwrap();
    run(async {
        let here = Netns::current().unwrap();
        let there = Netns::open(&pod.path()).unwrap();
        let host = Netlink::host(DEADLINE).unwrap();
        let in_pod = Netlink::in_netns(&there, DEADLINE).unwrap();
        let index = ifindex(&netdev);
        let error = host.move_link(index, &there, &name("net1")).await;
        assert_eq!(error.unwrap_err().errno(), Some(Errno::EEXIST));
        assert_eq!(host.link_of_device(device).await.unwrap(), None);
        let moved = in_pod.link_of_device(device).await.unwrap().unwrap();
        assert_eq!(moved.name, netdev.as_str());
        in_pod
            .move_link(moved.index, &here, &name(&netdev))
            .await
            .unwrap();

        occupy(&netdev).unwrap();
        let error = host.move_link(index, &there, &name("net1")).await;
        assert_eq!(error.unwrap_err().errno(), Some(Errno::EEXIST));
        let stayed = host.link_of_device(device).await.unwrap().unwrap();
        assert_eq!(stayed.name, netdev.as_str());
    });
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn removed_namespace_is_reported_as_gone() {
    let pod = node::Netns::new("host-gone").unwrap();
    let path = pod.path();
    let open = Netns::open(&path).unwrap();
    drop(pod);
    assert!(Netns::open(&path).unwrap_err().is_gone());
    // An open namespace stays alive.
    run(async {
        let netlink = Netlink::in_netns(&open, DEADLINE).unwrap();
        let lo = netlink.link_named(&name("lo")).await.unwrap().unwrap();
        assert_eq!((lo.index, lo.is_up), (1, false));
    });
}

#[test]
fn link_with_more_than_64_kib_is_read_and_found() {
    let pod = node::Netns::new("host-names").unwrap();
    ip(&["-n", &pod.name, "link", "add", "dummy0", "type", "dummy"]).unwrap();
    // The kernel accepts 495 names: the length of the list has 16 bits.
    let names: Vec<String> = (0..494).map(|number| format!("{number:0>127}")).collect();
    // `ip` sends at most seven names in a message, and drops the others silently.
    for some in names.chunks(7) {
        let mut words = vec!["-n", &pod.name, "link", "property", "add", "dev", "dummy0"];
        for name in some {
            words.extend(["altname", name]);
        }
        ip(&words).unwrap();
    }
    run(async {
        let there = Netns::open(&pod.path()).unwrap();
        let netlink = Netlink::in_netns(&there, DEADLINE).unwrap();
        let link = netlink.link_named(&name("dummy0")).await.unwrap().unwrap();
        let names: Vec<RawName> = names.into_iter().map(RawName::from).collect();
        assert_eq!(link.altnames.len(), names.len());
        assert!(link.altnames == names);
        netlink
            .set_link(link.index, &LinkChange::DropAltName(names[7].clone()))
            .await
            .unwrap();
        netlink
            .set_link(link.index, &LinkChange::AddAltName("enp1s16".into()))
            .await
            .unwrap();
        let found = netlink.link_named(&name("enp1s16")).await.unwrap().unwrap();
        assert_eq!(found.name, "dummy0");
        assert!(!found.altnames.contains(&names[7]));
        let again = netlink
            .set_link(link.index, &LinkChange::AddAltName("enp1s16".into()))
            .await;
        assert_eq!(again.unwrap_err().errno(), Some(Errno::EEXIST));
    });
}
