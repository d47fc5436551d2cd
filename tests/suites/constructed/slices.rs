//! The DRA driver and the API server: what is written for which change, and every fault that a server or a connection may have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_lab::wait::{wait_for, wait_within};
use sriov_testkit::api_server::{ApiServer, NODE_UID};
use sriov_testkit::driver::{Driver, NODE};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::process::memory;
use sriov_testkit::sized_tree::{self, Size};
use tempfile::TempDir;

/// A machine with a driver that has published its slices, and a kubelet without pods.
struct Node {
    _kubelet: Kubelet,
    dir: TempDir,
    api: ApiServer,
    driver: Driver,
}

impl Node {
    fn new(size: Size) -> Self {
        Self::with(size, ApiServer::start().unwrap())
    }

    fn with(size: Size, api: ApiServer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        sized_tree::build(dir.path(), size).unwrap();
        write_config(dir.path(), size, "dra");
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), true).unwrap();
        let driver = Driver::start(dir.path(), &api, &[]).unwrap();
        driver.wait_until_published().unwrap();
        Self {
            _kubelet: kubelet,
            dir,
            api,
            driver,
        }
    }

    fn restart(&mut self) {
        let started = Driver::start(self.dir.path(), &self.api, &[]).unwrap();
        let old = std::mem::replace(&mut self.driver, started);
        old.process.stop().unwrap();
        self.driver.wait_until_published().unwrap();
    }

    /// Sets the carrier of a PF.
    fn set_carrier(&self, pf: usize, carrier: &str) {
        let functions = self.dir.path().join("sys/bus/pci/devices");
        let netdev = functions.join(format!("{:04x}:01:00.0/net/pf{pf}", pf + 1));
        fs::write(netdev.join("carrier"), carrier).unwrap();
        self.driver.process.signal(Signal::SIGHUP).unwrap();
    }

    fn devices(&self) -> Vec<Value> {
        let slices = self.api.slices().into_iter();
        let devices = slices.filter_map(|slice| slice["spec"]["devices"].as_array().cloned());
        devices.flatten().collect()
    }

    fn tainted(&self) -> usize {
        let devices = self.devices().into_iter();
        devices.filter(|device| !device["taints"].is_null()).count()
    }

    fn wait_for_tainted(&self, count: usize) {
        wait_for(&format!("{count} devices have a taint"), || {
            self.tainted() == count
        })
        .unwrap();
    }

    fn first(&self) -> String {
        let slices = self.api.slices();
        slices[0]["metadata"]["name"].as_str().unwrap().to_owned()
    }
}

fn write_config(dir: &Path, size: Size, publish: &str) {
    let list = sized_tree::published_list(size, publish).unwrap();
    fs::write(dir.join("config.json"), list).unwrap();
}

const SMALL: Size = Size { pfs: 2, vfs: 7 };

/// The pool is complete: one generation, and as many slices as each of them states.
fn check_pool(slices: &[Value]) {
    let pools: BTreeSet<String> = slices
        .iter()
        .map(|slice| slice["spec"]["pool"].to_string())
        .collect();
    assert_eq!(pools.len(), 1, "{pools:?}");
    assert_eq!(
        slices[0]["spec"]["pool"]["resourceSliceCount"],
        slices.len()
    );
    assert_eq!(slices[0]["spec"]["pool"]["name"], NODE);
}

#[test]
fn thousand_vfs_are_published_in_slices_of_64() {
    let size = Size { pfs: 8, vfs: 125 };
    let mut node = Node::new(size);
    let slices = node.api.slices();
    assert_eq!((slices.len(), node.devices().len()), (16, 1000));
    check_pool(&slices);
    let longest = slices.iter().map(|slice| slice.to_string().len()).max();
    assert_eq!(node.api.writes(), 16);
    node.set_carrier(3, "0\n");
    node.wait_for_tainted(125);
    // Only the two slices of the PF, and the pool stays usable.
    assert_eq!(node.api.writes(), 18);
    check_pool(&node.api.slices());
    let [resident, peak] = memory(node.driver.process.id()).unwrap();
    println!(
        "1,000 VFs: {resident} KiB resident, {peak} KiB at the peak, largest slice {longest:?} bytes"
    );
    // The debug build; the bench has the figures of the release build.
    assert!(resident < 100 * 1024, "{resident} KiB");
    node.restart();
    assert_eq!(node.api.writes(), 18, "a restart writes nothing");
}

#[test]
fn change_of_one_pf_is_one_write() {
    let node = Node::new(SMALL);
    let slices = node.api.slices();
    assert_eq!(slices.len(), 2);
    assert_eq!(slices[0]["metadata"]["ownerReferences"][0]["uid"], NODE_UID);
    let before = node.api.writes();
    node.set_carrier(1, "0\n");
    node.wait_for_tainted(7);
    assert_eq!(node.api.writes(), before + 1);
    let taint = &node.api.slices()[1]["spec"]["devices"][0]["taints"][0];
    assert_eq!(taint["key"], "sriov.virtfn.dev/unhealthy");
    assert_eq!(taint["value"], "pf-without-carrier");
    assert_eq!(taint["effect"], "NoSchedule");
    node.set_carrier(1, "1\n");
    node.wait_for_tainted(0);
    assert_eq!(node.api.writes(), before + 2);
    check_pool(&node.api.slices());
}

#[test]
fn deleted_and_changed_slices_are_restored() {
    let node = Node::new(SMALL);
    node.api.delete_slices();
    let restored = || node.devices().len() == 14;
    wait_for("the slices are back", restored).unwrap();
    check_pool(&node.api.slices());
    let name = node.first();
    node.api
        .change_slice(&name, |slice| slice["spec"]["devices"] = json!([]));
    wait_for("the devices are back", restored).unwrap();
    node.api.delete_slice(&node.first());
    wait_for("the slice is back", restored).unwrap();
    let line = "sriov_dra_foreign_slice_changes_total{kind=\"changed\"} 1";
    node.driver.scrape.wait_for_line(line, true).unwrap();
}

#[test]
fn refused_writes_are_tried_again() {
    let node = Node::new(SMALL);
    for (code, retry_after) in [(409, None), (500, None), (429, Some(1)), (404, None)] {
        node.api.refuse("PUT", code, retry_after);
        node.set_carrier(0, "0\n");
        node.wait_for_tainted(7);
        node.set_carrier(0, "1\n");
        node.wait_for_tainted(0);
    }
    node.driver.wait_until_published().unwrap();
    check_pool(&node.api.slices());
    let page = node.driver.scrape.page().unwrap();
    for code in [409, 500, 429, 404] {
        let line = format!("sriov_dra_api_answers_total{{method=\"PUT\",code=\"{code}\"}} 1");
        assert!(page.contains(&line), "{page}");
    }
}

#[test]
fn expired_watch_begins_again_with_a_list() {
    let node = Node::new(SMALL);
    let lists = || node.api.requests("GET", "resourceslices");
    let before = lists();
    node.api.expire();
    wait_for("the slices are listed again", || lists() > before).unwrap();
    node.api.delete_slices();
    wait_for("the slices are back", || node.devices().len() == 14).unwrap();
}

#[test]
fn server_that_drops_taints_gets_no_unhealthy_devices() {
    let api = ApiServer::start().unwrap();
    api.drop_taints();
    let node = Node::with(SMALL, api);
    node.set_carrier(0, "0\n");
    wait_for("only healthy devices are published", || {
        node.devices().len() == 7
    })
    .unwrap();
    check_pool(&node.api.slices());
    let line = "sriov_dra_api_server_keeps_taints 0";
    node.driver.scrape.wait_for_line(line, true).unwrap();
    node.set_carrier(0, "1\n");
    wait_for("all devices are published", || node.devices().len() == 14).unwrap();
}

#[test]
fn silent_watch_is_replaced() {
    let node = Node::new(SMALL);
    node.api.silence_watches();
    node.api.delete_slices();
    // The server sends a bookmark each minute; the driver waits a little longer.
    let (limit, pause) = (Duration::from_mins(3), Duration::from_millis(100));
    wait_within(limit, pause, "the slices are back", || {
        node.devices().len() == 14
    })
    .unwrap();
    node.driver
        .scrape
        .wait_for_line("sriov_dra_silent_watches_total 1", true)
        .unwrap();
}

#[test]
fn resources_of_the_device_plugin_are_not_published() {
    let node = Node::new(SMALL);
    write_config(node.dir.path(), SMALL, "devicePlugin");
    node.driver.process.signal(Signal::SIGHUP).unwrap();
    wait_for("one empty slice is left", || {
        node.devices().is_empty() && node.api.slices().len() == 1
    })
    .unwrap();
    check_pool(&node.api.slices());
}

#[test]
fn shutdown_leaves_the_slices() {
    let node = Node::new(SMALL);
    let Node { api, driver, .. } = node;
    driver.process.stop().unwrap();
    assert_eq!(api.slices().len(), 2);
    assert_eq!(api.requests("DELETE", ""), 0);
}
