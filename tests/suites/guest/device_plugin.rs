//! The device plugin and the CNI plugin together on real VFs: pools by PF name and range, and the device-info file between them.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::multus::{Attachment, call};
use sriov_testkit::node::{Netns, Pf};
use sriov_testkit::plugin::{self, Plugin};

const FIRST: &str = "x.y/first";
const SECOND: &str = "x.y/second";

/// A kubelet double and a plugin with two pools, in directories that no other test shares.
struct Stack {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
}

impl Stack {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({ "resourceList": [
            { "resourceName": "first", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0#0-1", "pf0#3"] } },
            { "resourceName": "second", "resourcePrefix": "x.y", "selectors": [{ "pfNames": ["pf1#1"], "drivers": ["igbvf"] }] },
        ] });
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let flags = plugin::flags(dir.path(), "config.json", &[]);
        let plugin = Plugin::start(
            Path::new("/opt/virtfn/sriov-device-plugin"),
            &flags,
            &dir.path().join("log"),
        )
        .unwrap();
        Self {
            dir,
            kubelet,
            plugin,
        }
    }

    fn wait_for(&self, resource: &str, ids: &[String]) {
        let has = |known: &sriov_testkit::kubelet::Resources| {
            known.get(resource).is_some_and(|known| known.ids() == ids)
        };
        self.kubelet
            .wait_for(&format!("{resource} has {ids:?}"), has)
            .unwrap();
    }
}

fn vfs(pf: &Pf, indices: &[usize]) -> Vec<String> {
    indices.iter().map(|index| pf.vf(*index).unwrap()).collect()
}

#[test]
fn vfs_of_both_pfs_are_in_two_pools() {
    let (first, second) = (Pf::with_vfs(0, 4).unwrap(), Pf::with_vfs(1, 2).unwrap());
    let stack = Stack::start();
    stack.wait_for(FIRST, &vfs(&first, &[0, 1, 3]));
    stack.wait_for(SECOND, &vfs(&second, &[1]));
    first.set_vfs(2).unwrap();
    stack.plugin.signal(Signal::SIGHUP).unwrap();
    stack.wait_for(FIRST, &vfs(&first, &[0, 1]));
    let error = stack
        .kubelet
        .allocate(FIRST, &["0000:ff:1f.7"])
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("not a device of"),
        "{error:#}"
    );
    stack.plugin.stop().unwrap();
}

#[test]
fn add_reads_the_file_that_allocate_writes() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let device = pf.vf(0).unwrap();
    let stack = Stack::start();
    stack.wait_for(FIRST, &vfs(&pf, &[0]));
    let answer = stack.kubelet.allocate(FIRST, &[&device]).unwrap();
    assert_eq!(answer.envs["PCIDEVICE_X_Y_FIRST"], device);
    let file = stack
        .dir
        .path()
        .join(format!("devinfo/x.y-first-{device}-device.json"));
    let info: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        info["pci"],
        json!({ "pci-address": device, "pf-pci-address": pf.address })
    );

    let pod = Netns::new("by-allocation").unwrap();
    let config = json!({ "cniVersion": "1.1.0", "name": "test", "type": "sriov", "vlan": 7, "runtimeConfig": { "CNIDeviceInfoFile": file } });
    let attachment = Attachment {
        pod: pod.name.clone(),
        container_id: "by-allocation".into(),
        netns: pod.path(),
        ifname: "net1".into(),
        device_id: device.clone(),
        mac: None,
    };
    for verb in ["ADD", "DEL"] {
        let answer = call(Path::new("/opt/cni/bin"), verb, &config, &attachment).unwrap();
        assert_eq!(
            answer.code,
            Some(0),
            "{verb}: {} {}",
            answer.document,
            answer.log
        );
        if verb == "ADD" {
            assert_eq!(answer.document["interfaces"][0]["pciID"], json!(device));
        }
    }
    assert_eq!(pf.baseline().unwrap(), before);
    stack.plugin.stop().unwrap();
}
