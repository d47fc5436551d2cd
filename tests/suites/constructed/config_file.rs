//! A configuration without resources, and a restart with a mistake in the file.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;

const PF: &str = "0000:01:00.0";
const VF: &str = "0000:01:10.0";

/// A machine with a VF, its kubelet, and the directory of the configuration.
struct Machine {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        tree.pf(PF, "igb", 7).unwrap();
        tree.vf(PF, VF, "igbvf").unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        Self { dir, kubelet }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn configure(&self, text: &str) {
        fs::write(self.path().join("config.json"), text).unwrap();
    }

    fn start(&self) -> (Plugin, Scrape) {
        let more = [("cni-dir", "cni"), ("host-root", "")];
        let mut flags = plugin::flags(self.path(), "config.json", &more);
        flags.extend(["--metrics-address=0", "--resource-prefix=x.y"].map(str::to_owned));
        let log = self.path().join("log");
        let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &log).unwrap();
        let scrape = Scrape::of_log(&log).unwrap();
        (plugin, scrape)
    }

    fn wait_for(&self, resource: &str) {
        let listed = format!("{resource} is listed");
        self.kubelet
            .wait_for(&listed, |known| {
                known.get(resource).is_some_and(|known| known.ids() == [VF])
            })
            .unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }
}

fn resource_list(name: &str) -> String {
    let selectors = json!({ "drivers": ["igbvf"] });
    json!({ "resourceList": [{ "resourceName": name, "selectors": selectors }] }).to_string()
}

#[test]
fn emptied_configuration_withdraws_its_resources() {
    let machine = Machine::new();
    machine.configure(r#"{"resourceList": []}"#);
    let (plugin, scrape) = machine.start();
    wait_for("it is ready without resources", || {
        scrape
            .ask("GET /readyz")
            .is_ok_and(|answer| answer.0 == 200)
    })
    .unwrap();
    assert!(machine.log().contains("there is no resource"));
    let devices = r#"sriov_device_plugin_devices{resource="x.y/a"} 1"#;
    let lists = r#"sriov_device_plugin_list_streams{resource="x.y/a"} 1"#;
    for emptied in ["", "null", r#"{"resourceList": null}"#] {
        machine.configure(&resource_list("a"));
        plugin.signal(Signal::SIGHUP).unwrap();
        machine.wait_for("x.y/a");
        for line in [devices, lists] {
            scrape.wait_for_line(line, true).unwrap();
        }
        machine.configure(emptied);
        plugin.signal(Signal::SIGHUP).unwrap();
        for line in [devices, lists] {
            scrape.wait_for_line(line, false).unwrap();
        }
        let page = scrape.page().unwrap();
        assert!(!page.contains("x.y/a"), "{page}");
        let socket = machine.path().join("kubelet/device-plugins/x.y_a.sock");
        wait_for("the socket is removed", || !socket.exists()).unwrap();
    }
    plugin.stop().unwrap();
}

#[test]
fn restart_with_a_mistake_serves_the_last_good_list() {
    let machine = Machine::new();
    machine.configure(&resource_list("a"));
    let (plugin, scrape) = machine.start();
    machine.wait_for("x.y/a");
    let outdated = |is_outdated: u8| format!("sriov_device_plugin_config_outdated {is_outdated}");
    scrape.wait_for_line(&outdated(0), true).unwrap();
    plugin.stop().unwrap();

    let wrong = resource_list("b").replace("selectors", "selector");
    machine.configure(&wrong);
    let (plugin, scrape) = machine.start();
    machine
        .kubelet
        .wait_for("a is registered again", |known| {
            known["x.y/a"].registrations == 2
        })
        .unwrap();
    scrape.wait_for_line(&outdated(1), true).unwrap();
    assert!(machine.log().contains("older than the file"));

    machine.configure(&resource_list("b"));
    plugin.signal(Signal::SIGHUP).unwrap();
    machine.wait_for("x.y/b");
    scrape.wait_for_line(&outdated(0), true).unwrap();
    plugin.stop().unwrap();
}
