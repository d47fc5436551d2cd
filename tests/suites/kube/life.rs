//! Events while pods hold VFs: restarts of the kubelet, the runtime and the device plugin, and pods that are created and deleted.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cluster::workload::{network, pod};
use sriov_testkit::cluster::{Cluster, Pod, Service, wait_for, wait_restored};
use sriov_testkit::node::{Pf, ip_json};

const RESOURCE: &str = "example.com/trading";
const DEVICE_INFO: &str = "/var/run/k8s.cni.cncf.io/devinfo/dp";
const DEVICE_INFO_CNI: &str = "/var/run/k8s.cni.cncf.io/devinfo/cni";

fn trading<'a>(cluster: &'a Cluster, name: &str) -> Pod<'a> {
    let networks = json!([{ "name": "trading" }]);
    cluster
        .pod(&pod(name, &networks, &json!({ RESOURCE: "1" })))
        .unwrap()
}

/// A pod's interface, and the device-info file from the device plugin.
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
    let file = format!("{DEVICE_INFO}/example.com-trading-{device}-device.json");
    (
        json!([field("address"), field("ifindex"), device]),
        std::fs::read_to_string(file).unwrap(),
    )
}

/// Addresses that host-local has allocated in a network, without its lock and its note of the last address.
fn addresses(network: &str) -> Vec<String> {
    let names = files(&format!("/var/lib/cni/networks/{network}"));
    let is_address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
    names.into_iter().filter(is_address).collect()
}

/// Names of the files below a directory; empty if the directory does not exist.
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
fn running_pod_keeps_its_vf_over_restarts() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_trading().unwrap();
    let stays = trading(&cluster, "stays");
    stays.wait_running().unwrap();
    let held = holdings(&stays);

    Service::Kubelet.kill().unwrap();
    cluster.start_kubelet().unwrap();
    // A pod without available devices is refused, so the devices must be listed first.
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    let second = trading(&cluster, "after-kubelet");
    second.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    Service::Containerd.kill().unwrap();
    Service::Containerd.ensure_started().unwrap();
    let third = trading(&cluster, "after-containerd");
    third.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    Service::DevicePlugin.kill().unwrap();
    cluster.wait_allocatable(RESOURCE, 0).unwrap();
    assert_eq!(holdings(&stays), held);
    Service::DevicePlugin.ensure_started().unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    let fourth = trading(&cluster, "after-plugin");
    fourth.wait_running().unwrap();
    assert_eq!(holdings(&stays), held);

    cluster.delete([stays, second, third, fourth]).unwrap();
    wait_restored(&pf, &before).unwrap();
}

#[test]
fn deleted_pods_leave_nothing_behind() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_examples().unwrap();
    let ipam = json!({ "type": "host-local", "ranges": [[{ "subnet": "192.0.2.0/24" }]] });
    let config = json!({ "vlan": 100, "trust": "on", "ipam": ipam });
    let resource = "example.com/storage";
    cluster
        .apply_network(&network("rounds", resource, &config))
        .unwrap();
    cluster.wait_allocatable(resource, 7).unwrap();
    let rounds: u32 = std::env::var("VIRTFN_ROUNDS").unwrap().parse().unwrap();
    for round in 1..=rounds {
        let make = |index| {
            let networks = json!([{ "name": "rounds" }]);
            let name = format!("round-{round}-{index}");
            let spec = pod(&name, &networks, &json!({ resource: "1" }));
            cluster.pod(&spec).unwrap()
        };
        let pods: Vec<Pod<'_>> = (0..7).map(make).collect();
        for pod in &pods {
            pod.wait_running().unwrap();
        }
        assert_eq!(addresses("rounds").len(), 7);
        cluster.delete(pods).unwrap();
        // Not by `println!`, whose output the test harness captures: the lab has a limit of silence.
        writeln!(std::io::stdout(), "\nround {round} of {rounds} is over").unwrap();
    }
    wait_restored(&pf, &before).unwrap();
    let nothing = Vec::<String>::new();
    for dir in [
        "/var/lib/cni/sriov",
        "/var/lib/cni/sriov/pci",
        DEVICE_INFO_CNI,
    ] {
        assert_eq!(files(dir), nothing, "{dir}");
    }
    assert_eq!(addresses("rounds"), nothing);
    // The device plugin keeps a file some seconds longer: it queries the kubelet at intervals.
    let left = || {
        let all = files(DEVICE_INFO).into_iter();
        all.filter(|name| name.starts_with("example.com-storage-"))
            .collect::<Vec<_>>()
    };
    wait_for("no device has a device-info file", || left().is_empty())
        .unwrap_or_else(|error| unreachable!("{error}: {:?}", left()));
}
