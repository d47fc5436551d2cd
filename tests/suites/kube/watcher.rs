//! The device plugin registers through the kubelet's plugin watcher: a socket in `plugins_registry`, and no Register call.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::json;
use sriov_testkit::cluster::workload::pod;
use sriov_testkit::cluster::{Cluster, Service, wait_for, wait_restored};
use sriov_testkit::node::Pf;

const RESOURCE: &str = "example.com/trading";
const SOCKET: &str = "/var/lib/kubelet/plugins_registry/example.com_trading.sock";

/// The files in the directory of plugins that register by a call.
fn legacy_sockets() -> BTreeSet<OsString> {
    let entries = fs::read_dir("/var/lib/kubelet/device-plugins").unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn watched_plugin_registers_with_each_kubelet() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    // The configuration and the network of the examples.
    cluster.offer_trading().unwrap();
    cluster.offer_nothing().unwrap();
    let before_start = legacy_sockets();
    let log_before = Service::DevicePlugin.log().len();
    let mode = ["--registration=watcher"];
    Service::DevicePlugin.start_with(&mode).unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    assert_eq!(legacy_sockets(), before_start);
    let networks = json!([{ "name": "trading" }]);
    let spec = |name: &str| pod(name, &networks, &json!({ RESOURCE: "1" }));
    let first = cluster.pod(&spec("watched-one")).unwrap();
    first.wait_running().unwrap();

    Service::Kubelet.kill().unwrap();
    cluster.start_kubelet().unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    let second = cluster.pod(&spec("watched-two")).unwrap();
    second.wait_running().unwrap();
    let registered = || {
        let log = Service::DevicePlugin.log();
        let log = log.get(log_before..).unwrap_or_default();
        let lines = log
            .lines()
            .filter(|line| line.contains("registered with the kubelet") && line.contains(RESOURCE));
        lines.count()
    };
    wait_for("both kubelets have accepted the socket", || {
        registered() == 2
    })
    .unwrap();

    cluster.delete([first, second]).unwrap();
    wait_restored(&pf, &before).unwrap();
    Service::DevicePlugin.stop().unwrap();
    assert!(!Path::new(SOCKET).exists());
    cluster.wait_allocatable(RESOURCE, 0).unwrap();
}
