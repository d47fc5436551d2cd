//! 1,000 constructed VFs on one node, with a real API server: slices, writes per change, memory.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cluster::{Cluster, wait_for};
use sriov_testkit::driver;
use sriov_testkit::plugin::Plugin;
use sriov_testkit::process::memory;
use sriov_testkit::sized_tree::{self, Size};

use crate::dra_publish::setup::{ACCOUNT, Driver};

const BIG: Size = Size { pfs: 8, vfs: 125 };
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dbig";
/// Resident memory that the driver may use.
const LIMIT_KIB: u64 = 48 * 1024;

/// The slices of the constructed node.
fn slices(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.api.get(SLICES).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

fn count(slices: &[Value]) -> usize {
    let devices = |slice: &Value| slice["spec"]["devices"].as_array().map_or(0, Vec::len);
    slices.iter().map(devices).sum()
}

/// Names of the slices with their versions.
fn versions(slices: &[Value]) -> Vec<(String, String)> {
    let pair = |slice: &Value| {
        let text = |key: &str| slice["metadata"][key].as_str().unwrap().to_owned();
        (text("name"), text("resourceVersion"))
    };
    slices.iter().map(pair).collect()
}

#[test]
fn thousand_vfs_are_in_whole_slices_and_a_change_is_one_write() {
    let node = Driver::start();
    let cluster = &node.cluster;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    sized_tree::build(&root, BIG).unwrap();
    let list = sized_tree::published_list(BIG, "dra").unwrap();
    fs::write(dir.path().join("config.json"), list).unwrap();
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "big" } });
    cluster.api.replace(&node).unwrap();
    let config = fs::read_to_string("/run/virtfn/dra.kubeconfig").unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"]["token"] = json!(cluster.token(ACCOUNT, "big").unwrap());
    fs::write(dir.path().join("kubeconfig"), config.to_string()).unwrap();
    for made in ["kubelet", "devinfo", "cdi", "cni"] {
        fs::create_dir(dir.path().join(made)).unwrap();
    }
    let flags = driver::flags("big", dir.path(), &root);
    let binary = Path::new("/opt/virtfn/sriov-dra-driver");
    let log = dir.path().join("log");
    let process = Plugin::start(binary, &flags, &log).unwrap();
    let published = wait_for("all devices are published", || {
        count(&slices(cluster)) == BIG.functions()
    });
    let text = || fs::read_to_string(&log).unwrap_or_default();
    published.unwrap_or_else(|error| panic!("{error:#}\n{}", text()));
    let before = slices(cluster);
    for slice in &before {
        let devices = slice["spec"]["devices"].as_array().unwrap();
        assert!(devices.len() <= 64, "{}", devices.len());
        assert_eq!(slice["spec"]["pool"]["resourceSliceCount"], before.len());
    }
    let [resident, _] = memory(process.id()).unwrap();
    println!("{} slices, {resident} KiB resident", before.len());
    assert!(resident < LIMIT_KIB);

    sized_tree::unbind_vf(&root, 3, 17).unwrap();
    process.signal(nix::sys::signal::Signal::SIGHUP).unwrap();
    let old = versions(&before);
    let changed = || {
        let new = versions(&slices(cluster));
        new.iter().filter(|pair| !old.contains(pair)).count()
    };
    wait_for("the change is published", || changed() > 0).unwrap();
    assert_eq!(changed(), 1, "{}", text());
    process.stop().unwrap();
    // A function without a driver is not offered.
    assert_eq!(count(&slices(cluster)), BIG.functions() - 1);
    for slice in slices(cluster) {
        let name = slice["metadata"]["name"].as_str().unwrap();
        let path = format!("/apis/resource.k8s.io/v1/resourceslices/{name}");
        cluster.api.delete(&path).unwrap();
    }
    cluster.api.delete("/api/v1/nodes/big").unwrap();
}
