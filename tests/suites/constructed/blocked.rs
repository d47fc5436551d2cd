//! A read of sysfs that blocks: signals, probes and changes of the configuration are still handled.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;

const PF: &str = "0000:01:00.0";
const VF: &str = "0000:01:10.0";

fn machine(dir: &Path) -> Tree {
    let tree = Tree::new(dir);
    tree.pf(PF, "igb", 7).unwrap();
    tree.vf(PF, VF, "igbvf").unwrap();
    tree
}

/// Nobody writes to the fifo: a read of the attribute blocks.
fn block(tree: &Tree) {
    let attribute = tree.device(VF).join("vendor");
    fs::remove_file(&attribute).unwrap();
    mkfifo(&attribute, Mode::S_IRUSR).unwrap();
}

fn configure(dir: &Path, resource: &str) {
    let config = json!({ "resourceList": [{ "resourceName": resource, "selectors": { "drivers": ["igbvf"] } }] });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn start(dir: &Path) -> Plugin {
    let more = [("cni-dir", "cni"), ("host-root", "")];
    let mut flags = plugin::flags(dir, "config.json", &more);
    flags.extend(["--metrics-address=0", "--resource-prefix=x.y"].map(str::to_owned));
    Plugin::start(plugin::binary().unwrap(), &flags, &dir.join("log")).unwrap()
}

#[test]
fn signals_and_changes_are_handled_while_sysfs_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let tree = machine(dir.path());
    configure(dir.path(), "a");
    let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let plugin = start(dir.path());
    let scrape = Scrape::of_log(&dir.path().join("log")).unwrap();
    kubelet
        .wait_for("a is listed", |known| known.contains_key("x.y/a"))
        .unwrap();
    block(&tree);
    configure(dir.path(), "b");
    plugin.signal(Signal::SIGHUP).unwrap();
    // The devices that were seen last are in the pools of the new configuration.
    kubelet
        .wait_for("b is listed", |known| {
            known.get("x.y/b").is_some_and(|known| known.ids() == [VF])
        })
        .unwrap();
    assert_eq!(scrape.ask("GET /healthz").unwrap().0, 200);
    let (status, missing) = scrape.ask("GET /readyz").unwrap();
    assert_eq!(status, 503);
    assert!(missing.contains("blocks"), "{missing}");
    scrape
        .wait_for_line("sriov_device_plugin_scan_failures_total 1", true)
        .unwrap();
    configure(dir.path(), "c");
    plugin.signal(Signal::SIGHUP).unwrap();
    kubelet
        .wait_for("c is listed", |known| known.contains_key("x.y/c"))
        .unwrap();
    plugin.stop().unwrap();
}

#[test]
fn sigterm_ends_a_start_while_sysfs_blocks() {
    let dir = tempfile::tempdir().unwrap();
    block(&machine(dir.path()));
    configure(dir.path(), "a");
    let _kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let plugin = start(dir.path());
    let scrape = Scrape::of_log(&dir.path().join("log")).unwrap();
    wait_for("the core loop answers", || {
        scrape
            .ask("GET /healthz")
            .is_ok_and(|answer| answer.0 == 200)
    })
    .unwrap();
    plugin.stop().unwrap();
}
