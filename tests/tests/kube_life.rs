//! What a node lives through while pods hold VFs: restarts of kubelet, of the runtime and of the device plugin, and pods that come and go.
#![cfg(feature = "guest")]
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by panicking"
)]

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_tests::cluster::workload::{TRADING, pod, start_plugin};
use sriov_tests::cluster::{Cluster, Pod, Service};
use sriov_tests::node::{Pf, ip_json, wait_for};

const RESOURCE: &str = "example.com/trading";

fn trading<'a>(cluster: &'a Cluster, name: &str) -> Pod<'a> {
    let networks = json!([{ "name": "trading" }]);
    cluster
        .pod(&pod(name, &networks, &json!({ RESOURCE: "1" })))
        .unwrap()
}

/// What a pod holds: its interface, and the device-info file that the device plugin wrote.
fn holdings(pod: &Pod<'_>) -> (Value, String) {
    let netns = pod.netns().unwrap();
    let link = ip_json(Some(&netns), &["link", "show", "dev", "net1"]).unwrap();
    let field = |name: &str| link.pointer(&format!("/0/{name}")).cloned().unwrap();
    let status = pod.network_status("default/trading").unwrap();
    let device = status
        .pointer("/device-info/pci/pci-address")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned();
    let file =
        format!("/var/run/k8s.cni.cncf.io/devinfo/dp/example.com-trading-{device}-device.json");
    (
        json!([field("address"), field("ifindex"), device]),
        std::fs::read_to_string(file).unwrap(),
    )
}

/// Names of the files below a directory that is there or not.
fn files(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(dir))
        .into_iter()
        .flatten()
        .flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_running_pod_keeps_its_vf_whatever_restarts() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 4).unwrap();
    let before = pf.baseline().unwrap();
    let mut plugin = start_plugin().unwrap();
    cluster.apply_network(TRADING).unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    let stays = trading(&cluster, "stays");
    stays.wait_running().unwrap();
    let held = holdings(&stays);

    Service::Kubelet.kill().unwrap();
    Service::Kubelet.ensure_started().unwrap();
    let second = trading(&cluster, "after-kubelet");
    second.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    Service::Containerd.kill().unwrap();
    Service::Containerd.ensure_started().unwrap();
    let third = trading(&cluster, "after-containerd");
    third.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    plugin.signal(Signal::SIGKILL).unwrap();
    drop(plugin);
    cluster.wait_allocatable(RESOURCE, 0).unwrap();
    assert_eq!(holdings(&stays), held);
    plugin = start_plugin().unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    let fourth = trading(&cluster, "after-plugin");
    fourth.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    for pod in [stays, second, third, fourth] {
        pod.delete().unwrap();
    }
    wait_for("the VFs are as they were", || {
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
    plugin.stop().unwrap();
}

#[test]
fn pods_that_come_and_go_leave_nothing() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 4).unwrap();
    let before = pf.baseline().unwrap();
    let _plugin = start_plugin().unwrap();
    cluster.apply_network(TRADING).unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    for round in 0..2 {
        let pods: Vec<Pod<'_>> = (0..4)
            .map(|index| trading(&cluster, &format!("round-{round}-{index}")))
            .collect();
        for pod in &pods {
            pod.wait_running().unwrap();
        }
        for pod in pods {
            pod.delete().unwrap();
        }
    }
    wait_for("the VFs are as they were", || {
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
    for dir in [
        "/var/lib/cni/sriov",
        "/var/lib/cni/sriov/pci",
        "/var/run/k8s.cni.cncf.io/devinfo/cni",
    ] {
        assert_eq!(files(dir), Vec::<String>::new(), "{dir}");
    }
    // host-local keeps its lock and the last address that it gave.
    let addresses: Vec<String> = files("/var/lib/cni/networks/trading")
        .into_iter()
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
        .collect();
    assert_eq!(addresses, Vec::<String>::new());
}
