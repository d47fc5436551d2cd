//! A node whose uplink is behind Open vSwitch, with the kernel's datapath: what the device plugin offers of it, and that pods reach each other through it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cni::{attachment, run, succeed};
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::node::openvswitch::OpenVswitch;
use sriov_testkit::node::{Netns, Pf, ip, ip_json, ping};
use sriov_testkit::plugin::{self, Plugin};

const BRIDGE: &str = "br-ex";
const NODE: &str = "198.51.100.10";
const RESOURCE: &str = "x.y/vf";

fn is_port(netdev: &str) -> bool {
    let link = ip_json(None, &["link", "show", "dev", netdev]).unwrap();
    link.pointer("/0/master") == Some(&json!("ovs-system"))
}

/// The node's address is on the bridge, as network plugins for Open vSwitch have it.
fn bridge_with_address(switch: &mut OpenVswitch, netdev: &str) {
    switch.add_bridge(BRIDGE, netdev).unwrap();
    assert!(is_port(netdev), "{netdev} is not a port of the datapath");
    ip(&["address", "add", &format!("{NODE}/24"), "dev", BRIDGE]).unwrap();
    ip(&["link", "set", BRIDGE, "up"]).unwrap();
}

#[test]
fn a_pod_reaches_the_node_through_the_uplinks_bridge() {
    let (near, far) = (Pf::with_vfs(0, 1).unwrap(), Pf::with_vfs(1, 1).unwrap());
    let before = [near.baseline().unwrap(), far.baseline().unwrap()];
    let mut switch = OpenVswitch::start().unwrap();
    bridge_with_address(&mut switch, &near.netdev);
    for pf in [&near, &far] {
        let pod = Netns::new("behind-bridge").unwrap();
        let attachment = attachment(&pod, &pf.vf(0).unwrap());
        let ipam = json!({ "type": "static", "addresses": [{ "address": "198.51.100.20/24" }] });
        let fields = json!({ "cniVersion": "1.0.0", "ipam": ipam });
        let answer = run("ADD", &fields, &attachment);
        assert_eq!(answer.code, Some(0), "{}", answer.document);
        assert!(ping(&pod.name, NODE, 10, 1).unwrap(), "{}", pf.netdev);
        succeed("DEL", &fields, &attachment);
    }
    switch.delete_bridge(BRIDGE).unwrap();
    assert_eq!([near.baseline().unwrap(), far.baseline().unwrap()], before);
}

#[test]
fn vfs_of_an_uplink_behind_a_bridge_stay_offered() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let vfs = [pf.vf(0).unwrap(), pf.vf(1).unwrap()];
    let mut switch = OpenVswitch::start().unwrap();
    bridge_with_address(&mut switch, &pf.netdev);
    let stack = Stack::start(&json!({ "pfNames": [pf.netdev] }));
    stack.wait_for(&[&vfs[0], &vfs[1]]);
    stack.plugin.stop().unwrap();
}

/// A kubelet and a plugin with one resource.
struct Stack {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
}

impl Stack {
    fn start(selectors: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({ "resourceList": [
            { "resourceName": "vf", "resourcePrefix": "x.y", "selectors": selectors },
        ] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let flags = plugin::flags(dir.path(), "config.json", &[]);
        let binary = Path::new("/opt/virtfn/sriov-device-plugin");
        let plugin = Plugin::start(binary, &flags, &dir.path().join("log")).unwrap();
        Self {
            dir,
            kubelet,
            plugin,
        }
    }

    fn wait_for(&self, ids: &[&str]) {
        let has = |known: &Resources| known.get(RESOURCE).is_some_and(|known| known.ids() == ids);
        let found = self.kubelet.wait_for(&format!("{ids:?} are listed"), has);
        found.unwrap_or_else(|error| {
            let log = fs::read_to_string(self.dir.path().join("log"));
            panic!("{error:#}\n{}", log.unwrap_or_default())
        });
    }
}
