//! Pods with VFs on a node with real components: kubelet, containerd, Multus, the device plugin and the CNI plugin.

use serde_json::json;
use sriov_testkit::cluster::workload::{STORAGE, TRADING, network, pod};
use sriov_testkit::cluster::{Cluster, wait_for, wait_restored};
use sriov_testkit::node::{Pf, ip_json, ping};

#[test]
fn pod_gets_its_vf_with_vlan_and_mac_and_returns_it() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_trading().unwrap();

    let mac = "02:00:00:00:01:01";
    let pod = cluster
        .pod(&pod(
            "one",
            &json!([{ "name": "trading", "mac": mac }]),
            &json!({ "example.com/trading": "1" }),
        ))
        .unwrap();
    pod.wait_running().unwrap();

    let status = pod.network_status("default/trading").unwrap();
    assert_eq!(status["interface"], "net1");
    assert_eq!(status["mac"], mac);
    let info = &status["device-info"]["pci"];
    let device = info["pci-address"].as_str().unwrap();
    assert_eq!(info["pf-pci-address"], pf.address.as_str(), "{status}");
    let index = (0..4)
        .find(|index| pf.vf(*index).unwrap() == device)
        .unwrap();

    let link = ip_json(
        Some(&pod.netns().unwrap()),
        &["link", "show", "dev", "net1"],
    )
    .unwrap();
    assert_eq!(link[0]["address"], mac);
    let vf = &ip_json(None, &["link", "show", "dev", "pf0"]).unwrap()[0]["vfinfo_list"][index];
    assert_eq!(vf["address"], mac);
    assert_eq!(vf["vlan_list"][0]["vlan"], 100, "{vf}");
    assert_eq!(vf["vlan_list"][0]["qos"], 3, "{vf}");

    pod.delete().unwrap();
    wait_restored(&pf, &before).unwrap();
}

#[test]
fn pods_on_two_pfs_communicate_in_their_vlan_only() {
    let cluster = Cluster::join().unwrap();
    let (first, second) = (Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap());
    let before = (first.baseline().unwrap(), second.baseline().unwrap());
    cluster.offer_examples().unwrap();
    cluster.apply_network(TRADING).unwrap();
    for (name, vlan, address) in [
        ("far", 100, "192.0.2.200/24"),
        ("other", 200, "192.0.2.201/24"),
    ] {
        let ipam = json!({ "type": "static", "addresses": [{ "address": address }] });
        let config = json!({ "vlan": vlan, "ipam": ipam });
        cluster
            .apply_network(&network(name, "example.com/storage", &config))
            .unwrap();
    }
    cluster.wait_allocatable("example.com/trading", 4).unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let make = |name: &str, network: &str, resource: &str| {
        cluster
            .pod(&pod(
                name,
                &json!([{ "name": network }]),
                &json!({ resource: "1" }),
            ))
            .unwrap()
    };
    let pods = [
        make("near", "trading", "example.com/trading"),
        make("far", "far", "example.com/storage"),
        make("other", "other", "example.com/storage"),
    ];
    for pod in &pods {
        pod.wait_running().unwrap();
    }
    let netns = pods[0].netns().unwrap();
    assert!(ping(&netns, "192.0.2.200", 3, 2).unwrap());
    assert!(!ping(&netns, "192.0.2.201", 3, 2).unwrap());

    cluster.delete(pods).unwrap();
    wait_for("the VFs have their earlier state", || {
        let now = (first.baseline(), second.baseline());
        now.0.is_ok_and(|now| now == before.0) && now.1.is_ok_and(|now| now == before.1)
    })
    .unwrap();
}

#[test]
fn pod_gets_one_vf_of_each_of_two_resources() {
    let cluster = Cluster::join().unwrap();
    let pfs = [Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap()];
    cluster.offer_examples().unwrap();
    cluster.apply_network(TRADING).unwrap();
    cluster.apply_network(STORAGE).unwrap();
    cluster.wait_allocatable("example.com/trading", 4).unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let both = json!({ "example.com/trading": "1", "example.com/storage": "1" });
    let networks = json!([{ "name": "trading" }, { "name": "storage" }]);
    let pod = cluster.pod(&pod("bond", &networks, &both)).unwrap();
    pod.wait_running().unwrap();
    let netns = pod.netns().unwrap();
    for (pf, network, ifname) in [(&pfs[0], "trading", "net1"), (&pfs[1], "storage", "net2")] {
        ip_json(Some(&netns), &["link", "show", "dev", ifname]).unwrap();
        let status = pod.network_status(&format!("default/{network}")).unwrap();
        assert_eq!(status["interface"], ifname);
        assert_eq!(
            status["device-info"]["pci"]["pf-pci-address"],
            pf.address.as_str(),
            "{status}"
        );
    }
    pod.delete().unwrap();
}

#[test]
fn pod_without_a_free_vf_is_refused() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_examples().unwrap();
    cluster.apply_network(STORAGE).unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let networks = |count: usize| json!(vec![json!({ "name": "storage" }); count]);
    let all = cluster
        .pod(&pod(
            "all",
            &networks(7),
            &json!({ "example.com/storage": "7" }),
        ))
        .unwrap();
    all.wait_running().unwrap();
    let netns = all.netns().unwrap();
    for index in 1..=7 {
        ip_json(
            Some(&netns),
            &["link", "show", "dev", &format!("net{index}")],
        )
        .unwrap();
    }

    let one = json!({ "example.com/storage": "1" });
    let late = cluster.pod(&pod("late", &networks(1), &one)).unwrap();
    let reason = late.wait_refused().unwrap();
    // With a scheduler, the pod would stay pending instead.
    assert!(
        reason.contains("unavailable for example.com/storage. Requested: 1, Available: 0"),
        "{reason}"
    );
    cluster.delete([late, all]).unwrap();
    wait_restored(&pf, &before).unwrap();

    let next = cluster.pod(&pod("next", &networks(1), &one)).unwrap();
    next.wait_running().unwrap();
    next.delete().unwrap();
}

#[test]
fn event_of_the_pod_reports_the_wrong_network() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_examples().unwrap();
    let config = json!({ "vlan": 5000 });
    cluster
        .apply_network(&network("wrong", "example.com/storage", &config))
        .unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let pod = cluster
        .pod(&pod(
            "wrong",
            &json!([{ "name": "wrong" }]),
            &json!({ "example.com/storage": "1" }),
        ))
        .unwrap();
    let message = pod.wait_event("5000").unwrap();
    assert!(message.contains("vlan"), "{message}");
    pod.delete().unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
}
