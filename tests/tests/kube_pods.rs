//! Pods with VFs on a node of real parts: kubelet, containerd, Multus, the device plugin and the CNI plugin, nothing faked between pod and wire.
#![cfg(feature = "guest")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

use std::path::Path;

use serde_json::{Value, json};
use sriov_tests::cluster::Cluster;
use sriov_tests::node::{Pf, ip_json, wait_for};
use sriov_tests::plugin::Plugin;

const TRADING: &str = include_str!("../../deploy/examples/nad-vlan.yaml");
const CONFIG: &str = include_str!("../../deploy/examples/configmap.yaml");

/// A device plugin on the node, with the ConfigMap of the examples.
fn start_plugin() -> Plugin {
    let manifest: Value = serde_yaml_ng::from_str(CONFIG).unwrap();
    let config = manifest["data"]["config.json"].as_str().unwrap();
    std::fs::write("/run/virtfn/config.json", config).unwrap();
    Plugin::start(
        Path::new("/opt/virtfn/sriov-device-plugin"),
        &["--config-file=/run/virtfn/config.json"],
        Path::new("/run/virtfn/device-plugin.log"),
    )
    .unwrap()
}

fn pod(name: &str, networks: &Value, resources: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": { "k8s.v1.cni.cncf.io/networks": networks.to_string() } },
        "spec": {
            "nodeName": "node",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "main",
                "image": "localhost/pod:1",
                "imagePullPolicy": "Never",
                "resources": { "limits": resources, "requests": resources },
            }],
        },
    })
}

#[test]
fn a_pod_gets_its_vf_with_vlan_and_mac_and_gives_it_back() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 4).unwrap();
    let before = pf.baseline().unwrap();
    let _plugin = start_plugin();
    cluster.apply_network(TRADING).unwrap();
    cluster.wait_allocatable("example.com/trading", 4).unwrap();

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
    wait_for("the VF is as it was", || {
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
}
