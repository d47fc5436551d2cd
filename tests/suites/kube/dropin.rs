//! The Go plugins and ours alternate on one node, with one `ConfigMap`, one network and running pods: each respects and releases the attachments of the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use sriov_lab::peers::{PEER_BIN, PEER_DEVICE_PLUGIN};
use sriov_testkit::cluster::workload::{network, pod};
use sriov_testkit::cluster::{Cluster, Pod, last_lines, wait_for, wait_restored};
use sriov_testkit::cni::{BIN, assert_nothing_left, at_pf};
use sriov_testkit::node::{Pf, ip, ip_json, netdev_of};
use sriov_testkit::plugin::Plugin;

pub(crate) const RESOURCE: &str = "example.com/dropin";
const VFS: usize = 2;
/// Both device plugins use this configuration and log.
const CONFIG: &str = "/run/virtfn/dropin.json";
const LOG: &str = "/run/virtfn/dropin.log";

/// The programs on the node.
#[derive(Clone, Copy)]
enum Whose {
    Go,
    Ours,
}

/// The node with VFs of one resource; the end restores our CNI plugin and the names of the VFs.
pub(crate) struct Node {
    pub(crate) cluster: Cluster,
    pf: Pf,
    /// The VFs' names from the kernel.
    names: Vec<String>,
    before: Value,
    /// Our CNI plugin.
    pub(crate) ours: Vec<u8>,
}

impl Node {
    pub(crate) fn new(vfs: usize) -> Self {
        let cluster = Cluster::join().unwrap();
        cluster.offer_nothing().unwrap();
        let pf = Pf::with_vfs(0, vfs).unwrap();
        // Like udev: the Go plugin restores the VF's name while it is still in the pod, where `eth0` is taken.
        let all: Vec<String> = (0..vfs).map(|index| format!("pf0v{index}")).collect();
        let names = rename(&pf, &all).unwrap();
        // Both plugins read it, and the Go plugin of 2019 supports only VLAN and addresses.
        let config = json!({
            "cniVersion": "0.3.1",
            "vlan": 100,
            "ipam": { "type": "host-local", "ranges": [[{ "subnet": "192.0.2.0/24" }]] },
        });
        cluster
            .apply_network(&network("dropin", RESOURCE, &config))
            .unwrap();
        Self {
            before: pf.baseline().unwrap(),
            ours: fs::read(Path::new(BIN).join("sriov")).unwrap(),
            cluster,
            pf,
            names,
        }
    }

    /// Replaces the programs, as a changed image does, and waits until the kubelet has the VFs.
    fn change_to(&self, whose: Whose, running: Option<Plugin>) -> Plugin {
        if let Some(running) = running {
            running.stop().unwrap();
            self.offered(0);
        }
        fs::write(CONFIG, self.config()).unwrap();
        let (program, cni) = match whose {
            Whose::Go => {
                let cni = fs::read(Path::new(PEER_BIN).join("sriov")).unwrap();
                (PEER_DEVICE_PLUGIN, cni)
            }
            Whose::Ours => ("/opt/virtfn/sriov-device-plugin", self.ours.clone()),
        };
        install(&cni);
        let args = ["--logtostderr", &format!("--config-file={CONFIG}")];
        let plugin = Plugin::start(Path::new(program), &args, Path::new(LOG)).unwrap();
        self.offered(2);
        plugin
    }

    /// The resource list, which both device plugins read.
    pub(crate) fn config(&self) -> String {
        let config = json!({ "resourceList": [{
            "resourceName": "dropin",
            "resourcePrefix": "example.com",
            "selectors": { "drivers": ["igbvf"], "pfNames": [self.pf.netdev] },
        }] });
        config.to_string()
    }

    fn offered(&self, count: u64) {
        if let Err(error) = self.cluster.wait_allocatable(RESOURCE, count) {
            let log = fs::read_to_string(LOG).unwrap_or_default();
            panic!("{error:#}\nlog of the device plugin:\n{}", last_lines(&log));
        }
    }

    pub(crate) fn ask(&self, name: &str) -> Pod<'_> {
        let networks = json!([{ "name": "dropin" }]);
        let resources = json!({ RESOURCE: "1" });
        self.cluster.pod(&pod(name, &networks, &resources)).unwrap()
    }

    pub(crate) fn pod(&self, name: &str) -> Pod<'_> {
        let pod = self.ask(name);
        pod.wait_running().unwrap();
        pod
    }

    /// A pod's VF, its network device and address in the pod, and its VLAN at the PF.
    pub(crate) fn holdings(&self, pod: &Pod<'_>) -> Holdings {
        let status = pod.network_status("default/dropin").unwrap();
        let device = status.pointer("/device-info/pci/pci-address");
        let device = device.and_then(Value::as_str).unwrap().to_owned();
        let netns = pod.netns().unwrap();
        let link = ip_json(Some(&netns), &["address", "show", "dev", "net1"]).unwrap();
        let of = |pointer: &str| link.pointer(pointer).cloned().unwrap();
        let mut all = 0..self.names.len();
        let index = all.find(|index| self.pf.vf(*index).unwrap() == device);
        let at_pf = at_pf(&self.pf, index.unwrap());
        Holdings {
            device,
            link: json!([
                of("/0/ifindex"),
                of("/0/address"),
                of("/0/operstate"),
                of("/0/addr_info/0/local"),
            ]),
            vlan: at_pf.pointer("/vlan_list/0/vlan").cloned(),
        }
    }

    /// Checks that all VFs have their earlier state, and no saved state is left.
    pub(crate) fn assert_nothing_left(&self) {
        wait_restored(&self.pf, &self.before).unwrap();
        assert_nothing_left();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        install(&self.ours);
        let _ = rename(&self.pf, &self.names);
    }
}

/// Renames the VFs on the host, and returns their earlier names.
fn rename(pf: &Pf, to: &[String]) -> anyhow::Result<Vec<String>> {
    let one = |(index, to): (usize, &String)| {
        let name = netdev_of(&pf.vf(index)?)?;
        ip(&["link", "set", &name, "name", to])?;
        Ok(name)
    };
    to.iter().enumerate().map(one).collect()
}

#[derive(Debug, PartialEq)]
pub(crate) struct Holdings {
    pub(crate) device: String,
    link: Value,
    vlan: Option<Value>,
}

/// Replaces a file atomically: a call of the runtime gets the old or the new program.
fn install(program: &[u8]) {
    let place = Path::new(BIN).join("sriov");
    let unfinished = Path::new(BIN).join(".sriov");
    let _ = fs::write(&unfinished, program);
    let _ = fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755));
    let _ = fs::rename(&unfinished, place);
}

/// Checks that a pod keeps its VF over a change of the programs, another pod gets the other VF, and a third pod gets none.
fn pods_over_a_change(node: &Node, from: Whose, to: Whose) -> Plugin {
    let plugin = node.change_to(from, None);
    let stays = node.pod("stays");
    let held = node.holdings(&stays);
    assert_eq!(held.vlan, Some(json!(100)));

    let plugin = node.change_to(to, Some(plugin));
    assert_eq!(node.holdings(&stays), held);
    let other = node.pod("other");
    let others = node.holdings(&other);
    assert!(others.device != held.device, "{others:?} {held:?}");
    assert_eq!(others.vlan, Some(json!(100)));
    node.ask("third").wait_refused().unwrap();
    assert_eq!(node.holdings(&stays), held);

    stays.delete().unwrap();
    wait_for("the VF has a network device again", || {
        netdev_of(&held.device).is_ok()
    })
    .unwrap();
    assert_eq!(node.holdings(&other), others);
    other.delete().unwrap();
    plugin
}

#[test]
fn attachments_of_the_go_plugins_are_released_by_ours() {
    let node = Node::new(VFS);
    let plugin = pods_over_a_change(&node, Whose::Go, Whose::Ours);
    node.assert_nothing_left();
    plugin.stop().unwrap();
}

#[test]
fn our_attachments_are_released_by_the_go_plugins() {
    let node = Node::new(VFS);
    let plugin = pods_over_a_change(&node, Whose::Ours, Whose::Go);
    wait_restored(&node.pf, &node.before).unwrap();

    // With our programs again: the stale entry of our journal has no holder.
    let plugin = node.change_to(Whose::Ours, Some(plugin));
    let pods = ["again-0", "again-1"].map(|name| node.pod(name));
    for pod in pods {
        assert_eq!(node.holdings(&pod).vlan, Some(json!(100)));
        pod.delete().unwrap();
    }
    node.assert_nothing_left();
    plugin.stop().unwrap();
}
