//! Allocations over the real protocol on constructed machines: devices that the emulated NIC lacks, and devices that changed after they were listed.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_device_plugin::proto::v1beta1::ContainerAllocateResponse;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;
use tonic::{Code, Status};

const PF: &str = "0000:01:00.0";
const VF0: &str = "0000:01:10.0";
const VF1: &str = "0000:01:10.2";
const RESOURCE: &str = "x.y/vf";

/// A constructed machine with its kubelet and the plugin.
struct Node {
    dir: tempfile::TempDir,
    tree: Tree,
    kubelet: Kubelet,
    plugin: Plugin,
}

impl Node {
    /// Starts with two VFs that have this driver, in one resource with these selectors.
    fn start(driver: &str, selectors: &Value, flags: &[&str], prepare: impl Fn(&Tree)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        tree.pf(PF, "igb", 7).unwrap();
        for address in [VF0, VF1] {
            tree.vf(PF, address, driver).unwrap();
        }
        prepare(&tree);
        let config = json!({ "resourceList": [{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": selectors }] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        Self::with(dir, kubelet, flags)
    }

    /// Starts the plugin on an existing machine.
    fn with(dir: tempfile::TempDir, kubelet: Kubelet, flags: &[&str]) -> Self {
        let tree = Tree::new(dir.path());
        let mut all = plugin::flags(
            dir.path(),
            "config.json",
            &[("cdi-dir", "cdi"), ("cni-dir", "cni"), ("host-root", "")],
        );
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let plugin =
            Plugin::start(plugin::binary().unwrap(), &all, &dir.path().join("log")).unwrap();
        let node = Self {
            dir,
            tree,
            kubelet,
            plugin,
        };
        let listed = |known: &sriov_testkit::kubelet::Resources| {
            known
                .get(RESOURCE)
                .is_some_and(|known| known.ids() == [VF0, VF1])
        };
        node.kubelet
            .wait_for("both VFs are listed", listed)
            .unwrap();
        node
    }

    /// Kills the plugin with SIGKILL, and starts it again.
    fn restarted(self, flags: &[&str]) -> Self {
        let Self {
            dir,
            mut kubelet,
            plugin,
            ..
        } = self;
        drop(plugin);
        kubelet.restart().unwrap();
        Self::with(dir, kubelet, flags)
    }

    fn allocate(&self, ids: &[&str]) -> ContainerAllocateResponse {
        self.kubelet.allocate(RESOURCE, ids).unwrap()
    }

    /// Code and message of an error.
    fn refusal(&self, ids: &[&str]) -> (Code, String) {
        let error = self.kubelet.allocate(RESOURCE, ids).unwrap_err();
        let status = error.downcast_ref::<Status>().unwrap();
        (status.code(), status.message().to_owned())
    }

    fn device_info(&self, id: &str) -> PathBuf {
        self.dir
            .path()
            .join(format!("devinfo/x.y-vf-{id}-device.json"))
    }
}

/// Device nodes of an answer as `host>container`.
fn nodes(answer: &ContainerAllocateResponse) -> Vec<String> {
    let node = |node: &sriov_device_plugin::proto::v1beta1::DeviceSpec| {
        assert_eq!(node.permissions, "rw");
        format!("{}>{}", node.host_path, node.container_path)
    };
    answer.devices.iter().map(node).collect()
}

fn info(answer: &ContainerAllocateResponse) -> Value {
    serde_json::from_str(&answer.envs["PCIDEVICE_X_Y_VF_INFO"]).unwrap()
}

fn with_group(tree: &Tree, name: &str) {
    for (address, group) in [(VF0, 7), (VF1, 8)] {
        tree.link(
            &format!("{address}/iommu_group"),
            &format!("../../../../kernel/iommu_groups/{group}"),
        )
        .unwrap();
        tree.file(&format!("/sys/kernel/iommu_groups/{group}/name"), name)
            .unwrap();
    }
}

#[test]
fn vfio_devices_come_with_groups_and_iommufd() {
    let node = Node::start(
        "vfio-pci",
        &json!({ "drivers": ["vfio-pci"] }),
        &[],
        |tree| {
            with_group(tree, "");
            tree.file(&format!("{VF1}/vfio-dev/vfio0/dev"), "511:0")
                .unwrap();
            tree.dir("/sys/class/vfio/8").unwrap();
        },
    );
    let answer = node.allocate(&[VF1, VF0]);
    assert_eq!(
        answer.envs["PCIDEVICE_X_Y_VF"],
        format!("{VF1},{VF0}"),
        "the order is that of the request"
    );
    assert_eq!(
        nodes(&answer),
        [
            "/dev/vfio/vfio>/dev/vfio/vfio",
            "/dev/vfio/8>/dev/vfio/8",
            "/dev/iommu>/dev/iommu",
            "/dev/vfio/devices/vfio0>/dev/vfio/devices/vfio0",
            "/dev/vfio/7>/dev/vfio/7"
        ]
    );
    assert_eq!(
        info(&answer)[VF0]["vfio"],
        json!({ "mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/7" })
    );
}

#[test]
fn changed_device_is_refused_with_a_code() {
    let node = Node::start(
        "vfio-pci",
        &json!({ "drivers": ["vfio-pci"] }),
        &[],
        |tree| {
            with_group(tree, "vfio-noiommu");
        },
    );
    assert!(nodes(&node.allocate(&[VF0])).contains(&"/dev/vfio/noiommu-7>/dev/vfio/7".to_owned()));
    let check = |ids: &[&str], code: Code, words: &str| {
        let refusal = node.refusal(ids);
        assert!(
            refusal.0 == code && refusal.1.contains(words),
            "{refusal:?}"
        );
    };
    check(&[VF0, VF0], Code::InvalidArgument, "twice");
    check(&[], Code::InvalidArgument, "no device");
    check(&["0000:09:10.0"], Code::NotFound, "not a device of");
    check(&["nonsense"], Code::NotFound, "not a device of");
    fs::remove_file(node.tree.device(VF0).join("iommu_group")).unwrap();
    check(&[VF0], Code::FailedPrecondition, "no vfio device");
    node.tree.bind(VF0, "igbvf").unwrap();
    check(&[VF1, VF0], Code::FailedPrecondition, "`igbvf`");
    assert!(
        !node.device_info(VF1).exists(),
        "a refused request left a file"
    );
    node.tree.remove(VF1).unwrap();
    let (code, _) = node.refusal(&[VF1]);
    assert!(matches!(code, Code::FailedPrecondition | Code::NotFound));
    node.plugin.stop().unwrap();
}

#[test]
fn container_with_a_changed_device_may_start() {
    let selectors = json!({ "drivers": ["vfio-pci"] });
    let metrics = ["--metrics-address=0"];
    let node = Node::start("vfio-pci", &selectors, &metrics, |tree| {
        with_group(tree, "");
    });
    let known = node.kubelet.known();
    assert!(!known[RESOURCE].is_pre_start_required);
    node.allocate(&[VF0]);
    node.kubelet
        .pods(|pods| pods.run("pod-a", RESOURCE, &[VF0]));
    node.allocate(&[VF0]);
    let scrape = Scrape::of_log(&node.dir.path().join("log")).unwrap();
    let held = format!(r#"sriov_device_plugin_devices_held{{resource="{RESOURCE}"}} 1"#);
    scrape.wait_for_line(&held, true).unwrap();
    let findings = |count| {
        format!(r#"sriov_device_plugin_pre_start_findings_total{{resource="{RESOURCE}"}} {count}"#)
    };
    node.kubelet.pre_start(RESOURCE, &[VF0]).unwrap();
    scrape.wait_for_line(&findings(0), true).unwrap();
    // An init container has bound another driver.
    node.tree.bind(VF0, "igbvf").unwrap();
    node.kubelet.pre_start(RESOURCE, &[VF0]).unwrap();
    scrape.wait_for_line(&findings(1), true).unwrap();
    node.plugin.signal(Signal::SIGHUP).unwrap();
    let unhealthy = format!(
        r#"sriov_device_plugin_device_unhealthy{{resource="{RESOURCE}",device="{VF0}",reason="driver_changed"}} 1"#
    );
    scrape.wait_for_line(&unhealthy, true).unwrap();
    let log = fs::read_to_string(node.dir.path().join("log")).unwrap();
    assert!(log.contains("may not be able to use"), "{log}");
    node.plugin.stop().unwrap();
}

#[test]
fn cdi_specifications_of_running_pods_are_kept() {
    let node = Node::start(
        "vfio-pci",
        &json!({ "drivers": ["vfio-pci"] }),
        &["--use-cdi"],
        |tree| with_group(tree, ""),
    );
    let answer = node.allocate(&[VF0, VF1]);
    let names: Vec<&str> = answer
        .cdi_devices
        .iter()
        .map(|device| device.name.as_str())
        .collect();
    assert_eq!(names, [VF0, VF1].map(|id| format!("x.y/vf={id}")));
    assert!(answer.devices.is_empty() && answer.annotations.is_empty());
    assert_eq!(
        info(&answer)[VF0]["vfio"]["dev-mount"],
        json!("/dev/vfio/7")
    );
    let dir = node.dir.path().join("cdi");
    let files = || {
        let mut files: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        files
    };
    assert_eq!(
        files(),
        [VF0, VF1].map(|id| format!("virtfn-x.y_vf_{id}.json"))
    );
    let text = fs::read_to_string(dir.join(format!("virtfn-x.y_vf_{VF1}.json"))).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["kind"], json!("x.y/vf"));
    assert_eq!(
        document["devices"][0]["containerEdits"]["deviceNodes"][1],
        json!({ "path": "/dev/vfio/8", "permissions": "rw" })
    );
    node.plugin.stop().unwrap();
    assert_eq!(files().len(), 2, "a running pod lost its specification");
}

#[test]
fn files_of_running_pods_are_rebuilt_and_others_removed() {
    let flags = ["--use-cdi"];
    let node = Node::start(
        "vfio-pci",
        &json!({ "drivers": ["vfio-pci"] }),
        &flags,
        |tree| with_group(tree, ""),
    );
    node.allocate(&[VF0, VF1]);
    let cdi = node
        .dir
        .path()
        .join(format!("cdi/virtfn-x.y_vf_{VF0}.json"));
    let (held, unheld) = (node.device_info(VF0), node.device_info(VF1));
    let before = [&held, &cdi].map(|path| fs::read_to_string(path).unwrap());
    node.kubelet.pods(|pods| pods.run("runs", RESOURCE, &[VF0]));

    // A reboot empties /var/run; the kubelet still reports the pod.
    fs::remove_file(&held).unwrap();
    fs::remove_file(&cdi).unwrap();
    let mut node = node.restarted(&flags);
    sriov_testkit::node::wait_for("the files of the running pod exist again", || {
        held.exists() && cdi.exists()
    })
    .unwrap();
    let after = [&held, &cdi].map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(after, before);
    sriov_testkit::node::wait_for("the files without a pod are gone", || !unheld.exists()).unwrap();
    assert!(held.exists() && cdi.exists());

    // Files stay while the kubelet does not answer.
    node.kubelet.silence();
    node.allocate(&[VF1]);
    node.plugin.stop().unwrap();
    assert!(held.exists() && cdi.exists() && unheld.exists());
}
