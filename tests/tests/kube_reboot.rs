//! A node that loses power with pods on it: what is on disk stays, what is in memory goes, and the VFs are made anew.
//!
//! The node itself goes on, its root being in memory: processes, mounts, namespaces and VFs end as they would, and the kernel shows another boot id.
#![cfg(feature = "guest")]
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by panicking"
)]

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use sriov_tests::cluster::workload::pod;
use sriov_tests::cluster::{Cluster, Service, wait_for, wait_restored};
use sriov_tests::cni::{assert_nothing_left, state};
use sriov_tests::node::{Pf, ip};

const RESOURCE: &str = "example.com/trading";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Another boot id, until this goes.
struct NewBoot;

impl NewBoot {
    fn begin() -> Self {
        let file = "/run/virtfn/boot_id";
        fs::write(file, "b007b007-0000-4000-8000-000000000001\n").unwrap();
        busybox(&["mount", "-o", "bind", file, BOOT_ID]);
        Self
    }
}

impl Drop for NewBoot {
    fn drop(&mut self) {
        busybox(&["umount", "-l", BOOT_ID]);
    }
}

fn busybox(words: &[&str]) {
    let done = Command::new("/bin/busybox").args(words).status().unwrap();
    assert!(done.success(), "{words:?}");
}

/// Ends all containers with their namespaces and what the runtime keeps in memory.
fn lose_power() {
    Service::Kubelet.kill().unwrap();
    Service::Containerd.kill().unwrap();
    let shims = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let shims = processes.filter(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            name.starts_with("containerd-shim")
        });
        let ids = shims.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.map(Pid::from_raw).collect::<Vec<_>>()
    };
    for shim in shims() {
        let _ = kill(shim, Signal::SIGKILL);
    }
    for entry in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("kubepods") {
            fs::write(entry.path().join("cgroup.kill"), "1").unwrap();
        }
    }
    wait_for("the containers are gone", || shims().is_empty()).unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let points = mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.starts_with("/run/containerd/")) {
        busybox(&["umount", "-l", point]);
    }
    fs::remove_dir_all("/run/containerd").unwrap();
    for entry in fs::read_dir("/run/netns").unwrap().flatten() {
        ip(&["netns", "del", &entry.file_name().to_string_lossy()]).unwrap();
    }
}

#[test]
fn a_node_that_lost_power_with_pods_on_it_comes_back_clean() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    cluster.offer_trading().unwrap();
    let make = |name: &str| {
        let networks = json!([{ "name": "trading" }]);
        let spec = pod(name, &networks, &json!({ RESOURCE: "1" }));
        cluster.pod(&spec).unwrap()
    };
    let before = [make("before-1"), make("before-2")];
    for pod in &before {
        pod.wait_running().unwrap();
    }
    assert!(!state().is_empty());

    Service::DevicePlugin.kill().unwrap();
    lose_power();
    pf.set_vfs(7).unwrap();
    let fresh = pf.baseline().unwrap();
    let boot = NewBoot::begin();

    Service::DevicePlugin.ensure_started().unwrap();
    Cluster::join().unwrap();
    cluster.wait_allocatable(RESOURCE, 4).unwrap();
    // Whether kubelet starts them again or gives them up for a controller is its own affair.
    cluster.delete(before).unwrap();
    let after: Vec<_> = (0..4)
        .map(|index| make(&format!("after-{index}")))
        .collect();
    for pod in &after {
        pod.wait_running().unwrap();
    }
    cluster.delete(after).unwrap();
    wait_restored(&pf, &fresh).unwrap();
    assert_nothing_left();
    drop(boot);
}
