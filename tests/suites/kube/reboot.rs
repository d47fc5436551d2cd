//! A node loses its power with pods on it: synchronised files stay on its disk, all others are lost, and the VFs are new.
//!
//! The lab cuts the power, boots the node again and restarts the test; a note on the disk marks the second run.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use nix::unistd::sync;
use serde_json::{Value, json};
use sriov_device_info::attachments;
use sriov_testkit::cluster::workload::pod;
use sriov_testkit::cluster::{Cluster, Pod, wait_restored};
use sriov_testkit::cni::{STATE, assert_nothing_left, attachment, state, succeed};
use sriov_testkit::multus::Attachment;
use sriov_testkit::node::{Netns, Pf, cut_power, ip_json};

const RESOURCE: &str = "example.com/trading";
const PODS: [&str; 2] = ["before-1", "before-2"];
/// The network namespace that gets a VF directly before the power loss.
const LAST: &str = "last";
/// File with the boot id of the first run.
const NOTE: &str = "/var/lib/power-cut";
/// Directory of the addresses that host-local has allocated.
const LEASES: &str = "/var/lib/cni/networks/trading";

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()
}

fn trading<'a>(cluster: &'a Cluster, name: &str) -> Pod<'a> {
    let networks = json!([{ "name": "trading" }]);
    let spec = pod(name, &networks, &json!({ RESOURCE: "1" }));
    cluster.pod(&spec).unwrap()
}

fn leases() -> usize {
    let entries = fs::read_dir(LEASES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("192.0.2.")).count()
}

#[test]
fn node_returns_clean_from_a_power_loss() {
    match fs::read_to_string(NOTE) {
        Err(_first_time) => lose_power(),
        Ok(boot) => come_back(&boot),
    }
}

fn lose_power() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    cluster.offer_trading().unwrap();
    // All older files are synchronised, as on a node that has run for days.
    let mut note = File::create(NOTE).unwrap();
    note.write_all(boot_id().as_bytes()).unwrap();
    sync();
    let pods = PODS.map(|name| trading(&cluster, name));
    for pod in &pods {
        pod.wait_running().unwrap();
    }
    write_what_others_do_not(Path::new("/var/lib/cni"));
    let pod = Netns::new(LAST).unwrap();
    succeed("ADD", &fields(), &last(&pod, &pf));
    cut_power().unwrap();
}

/// The attachment directly before the loss; no resource offers its VF.
fn last(pod: &Netns, pf: &Pf) -> Attachment {
    attachment(pod, &pf.vf(6).unwrap())
}

fn fields() -> Value {
    json!({ "vlan": 100, "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.99/24" }] } })
}

/// Synchronises the files of libcni, Multus and host-local, as time would: they do not do so, and without libcni's files no runtime can remove a pod.
fn write_what_others_do_not(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path == Path::new(STATE) {
            continue;
        }
        File::open(&path).unwrap().sync_all().unwrap();
        if path.is_dir() {
            write_what_others_do_not(&path);
        }
    }
}

fn come_back(first_boot: &str) {
    assert_ne!(boot_id(), first_boot);
    let kept = attachments::read(Path::new(STATE)).unwrap();
    assert_eq!(kept.len(), PODS.len() + 1, "{kept:?} {:?}", state());
    let pf = Pf::with_vfs(0, 7).unwrap();
    let fresh = pf.baseline().unwrap();
    // Nothing was synchronised after the ADD.
    let pod = Netns::new(LAST).unwrap();
    let last = last(&pod, &pf);
    let device = last.device_id.parse().unwrap();
    assert_eq!(kept[&device].container_id, last.container_id);
    succeed("DEL", &fields(), &last);
    let left = attachments::read(Path::new(STATE)).unwrap();
    assert_eq!(left.len(), PODS.len(), "{left:?}");

    let cluster = Cluster::join().unwrap();
    cluster.offer_trading().unwrap();
    let before = PODS.map(|name| cluster.pod_there(name));
    // The kubelet refuses a pod that it admits before the device plugin registers; a controller would create another one.
    for pod in &before {
        if !pod.wait_resumed().unwrap() {
            continue;
        }
        let interface = ip_json(
            Some(&pod.netns().unwrap()),
            &["link", "show", "dev", "net1"],
        );
        assert!(interface.is_ok(), "{interface:?}");
    }
    cluster.delete(before).unwrap();
    let after: Vec<_> = (0..4)
        .map(|index| trading(&cluster, &format!("after-{index}")))
        .collect();
    for pod in &after {
        pod.wait_running().unwrap();
    }
    cluster.delete(after).unwrap();
    wait_restored(&pf, &fresh).unwrap();
    assert_nothing_left();
    assert_eq!(leases(), 0);
    fs::remove_file(NOTE).unwrap();
}
