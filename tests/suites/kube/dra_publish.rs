//! The slices of the DRA driver, with a real API server and kubelet: whole slices whatever happens to VFs, to the kubelet and to the slices.

pub(crate) mod setup;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::checkout::VERSION;
use sriov_testkit::cluster::{Service, last_lines, wait_for};

use self::setup::{ACCOUNT, Driver, RESOURCE, SECOND};

const PROGRAM: &str = "/opt/virtfn/sriov-dra-driver";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

/// The identities of the slices.
fn ids(driver: &Driver) -> Vec<Value> {
    let slices = driver.cluster.slices().unwrap_or_default();
    slices
        .iter()
        .map(|slice| slice["metadata"]["uid"].clone())
        .collect()
}

/// Waits until all slices are new.
fn wait_published_again(driver: &Driver, old: &[Value]) {
    let published = wait_for("the driver has published all slices again", || {
        let new = ids(driver);
        new.len() == old.len() && new.iter().all(|id| !old.contains(id))
    });
    published
        .unwrap_or_else(|error| panic!("{error:#}\n{}", last_lines(&Service::DraDriver.log())));
}

#[test]
fn removed_and_created_vfs_are_published() {
    let driver = Driver::start();
    let (pf, other) = driver.pfs();
    for count in [2, 0, 7] {
        other.set_vfs(count).unwrap();
        driver.cluster.wait_devices(SECOND, count.min(3)).unwrap();
    }
    let names = driver.cluster.wait_devices(RESOURCE, 7).unwrap();
    let own: Vec<String> = (0..7)
        .map(|index| pf.vf(index).unwrap().replace([':', '.'], "-"))
        .collect();
    assert_eq!(names, own);
}

#[test]
fn pulled_cable_taints_all_devices_of_the_pf() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let cluster = &driver.cluster;
    pf.set_carrier(false).unwrap();
    let left = if driver.has_release(36) { 7 } else { 0 };
    let offered = cluster.wait_devices(RESOURCE, 0);
    let devices = cluster.devices().unwrap();
    pf.set_carrier(true).unwrap();
    offered.unwrap();
    let is_tainted = |device: &&Value| {
        let taint = &device["taints"][0];
        taint["key"] == "sriov.virtfn.dev/unhealthy" && taint["effect"] == "NoSchedule"
    };
    let tainted = devices.iter().filter(is_tainted).count();
    assert_eq!(tainted, left, "{devices:#?}");
    cluster.wait_devices(RESOURCE, 7).unwrap();
}

#[test]
fn deleted_slices_are_published_again() {
    let driver = Driver::start();
    let old = ids(&driver);
    for slice in driver.cluster.slices().unwrap() {
        let name = slice["metadata"]["name"].as_str().unwrap();
        driver
            .cluster
            .api
            .delete(&format!("{SLICES}/{name}"))
            .unwrap();
    }
    wait_published_again(&driver, &old);
    driver.cluster.wait_devices(RESOURCE, 7).unwrap();
}

/// The kubelet deletes the slices of its node when it starts.
#[test]
fn restarted_kubelet_leaves_all_slices() {
    let driver = Driver::start();
    let old = ids(&driver);
    Service::Kubelet.kill().unwrap();
    driver.cluster.start_kubelet().unwrap();
    wait_published_again(&driver, &old);
    driver.cluster.wait_devices(RESOURCE, 7).unwrap();
}

/// The admission policy: the account of the driver writes only the slices of the node that its token is bound to.
#[test]
fn token_of_another_node_writes_no_slice_of_this_node() {
    let driver = Driver::start();
    let cluster = &driver.cluster;
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "elsewhere" } });
    cluster.api.replace(&node).unwrap();
    let foreign = cluster
        .api
        .with_token(&cluster.token(ACCOUNT, "elsewhere").unwrap());
    let slice = cluster.slices().unwrap().remove(0);
    let name = slice["metadata"]["name"].as_str().unwrap();
    let own = format!("{SLICES}/{name}");
    let refused = |answer: anyhow::Result<Value>| {
        let error = answer.unwrap_err().to_string();
        assert!(
            error.contains("denied") && error.contains("node"),
            "{error}"
        );
    };
    refused(foreign.put(&own, &slice));
    refused(foreign.delete(&own));
    let mut other = slice.clone();
    other["metadata"] = json!({ "name": "of-this-node" });
    refused(foreign.post(SLICES, &other));
    // The same token may write for its own node.
    other["spec"]["nodeName"] = json!("elsewhere");
    other["spec"]["pool"]["name"] = json!("elsewhere");
    foreign.post(SLICES, &other).unwrap();
    foreign.delete(&format!("{SLICES}/of-this-node")).unwrap();
    cluster.api.delete("/api/v1/nodes/elsewhere").unwrap();
}

#[test]
fn program_is_small_and_static() {
    let bytes = fs::metadata(PROGRAM).unwrap().len();
    assert!(bytes < 9_000_000, "{bytes} bytes");
    // This root directory contains no loader and no library.
    let root = tempfile::tempdir().unwrap();
    fs::copy(PROGRAM, root.path().join("program")).unwrap();
    let output = Command::new("/bin/busybox")
        .arg("chroot")
        .args([root.path().as_os_str(), "/program".as_ref()])
        .arg("--version")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(VERSION), "{printed}");
}
