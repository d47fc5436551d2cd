//! Each mistake leads to one sentence where a user looks for it: an event of the pod, the device plugin's log, its inventory.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sriov_testkit::cluster::workload::{network, pod};
use sriov_testkit::cluster::{Cluster, Service, wait_for};
use sriov_testkit::node::Pf;

const MULTUS: &str = "/etc/cni/net.d/00-multus.conf";
const PLAIN: &str = "/etc/cni/net.d/10-plain.conf";

/// Configures the container runtime without Multus, until this is dropped.
struct NoMultus(Vec<u8>);

impl NoMultus {
    fn begin() -> Self {
        let multus = fs::read(MULTUS).unwrap();
        let config: Value = serde_json::from_slice(&multus).unwrap();
        let delegate = config.pointer("/delegates/0").unwrap();
        fs::write(PLAIN, delegate.to_string()).unwrap();
        fs::remove_file(MULTUS).unwrap();
        Self(multus)
    }
}

impl Drop for NoMultus {
    fn drop(&mut self) {
        let _ = fs::write(MULTUS, &self.0);
        let _ = fs::remove_file(PLAIN);
    }
}

fn inventory() -> String {
    let output = Command::new("/opt/virtfn/sriov-device-plugin")
        .args(["inventory", "--config-file=/run/virtfn/config.json"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn missing_multus_is_reported_by_log_and_inventory() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_trading().unwrap();
    let multus = NoMultus::begin();
    let networks = json!([{ "name": "trading" }]);
    let one = json!({ "example.com/trading": "1" });
    let spec = pod("alone", &networks, &one);
    let pod = cluster.pod(&spec).unwrap();
    let now = pod.wait_running().unwrap();
    let annotations = now.pointer("/metadata/annotations").unwrap().to_string();
    assert!(!annotations.contains("network-status"), "{annotations}");
    let told = "not attached to its holder: no Multus on the node, or the pod names no network of example.com/trading";
    let mut table = String::new();
    wait_for("the inventory reports it", || {
        table = inventory();
        let mut lines = table.lines();
        lines.any(|line| line.contains("default/alone/main") && line.ends_with(told))
    })
    .unwrap_or_else(|error| unreachable!("{error}: {table}"));
    wait_for("the log reports it", || {
        Service::DevicePlugin.log().contains(told)
    })
    .unwrap();
    pod.delete().unwrap();
    drop(multus);
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn resource_without_devices_is_in_the_log_and_the_event() {
    let cluster = Cluster::join().unwrap();
    Pf::with_vfs(0, 7).unwrap();
    let none = json!({ "resourceName": "none", "resourcePrefix": "example.com", "selectors": [{ "pfNames": ["nowhere"] }] });
    let list = json!({ "resourceList": [none] });
    cluster.offer(&list.to_string()).unwrap();
    wait_for("the log names the resource", || {
        let log = Service::DevicePlugin.log();
        log.lines().any(|line| {
            line.contains("no devices, not advertised until there are")
                && line.contains("pool=example.com/none")
        })
    })
    .unwrap();
    let manifest = network("none", "example.com/none", &json!({}));
    cluster.apply_network(&manifest).unwrap();
    let networks = json!([{ "name": "none" }]);
    let one = json!({ "example.com/none": "1" });
    let pod = cluster.pod(&pod("nothing", &networks, &one)).unwrap();
    let event = "does the network's resourceName match the resource that the pod requests?";
    let message = pod.wait_event(event).unwrap();
    assert!(
        message.contains("container to network \"none\""),
        "{message}"
    );
    pod.delete().unwrap();
}
