//! Allocations on real VFs: device nodes that exist, files that follow the pods, and owners according to the kubelet and the CNI plugin.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value, json};
use sriov_device_plugin::proto::v1beta1::ContainerAllocateResponse;
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::multus::{Attachment, call};
use sriov_testkit::node::{Driver, Netns, Pf, ip, netdev_of, wait_for};
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::scrape::Scrape;

const RESOURCE: &str = "x.y/vf";

/// A kubelet double and a plugin that offers all VFs of the first PF; they have separate directories, except that of the CNI plugin.
struct Stack {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
    scrape: Scrape,
}

impl Stack {
    fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({ "resourceList": [
            { "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0"], "needVhostNet": false } },
        ] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        Self::with(dir, kubelet, flags)
    }

    fn with(dir: tempfile::TempDir, kubelet: Kubelet, flags: &[&str]) -> Self {
        let mut all = plugin::flags(dir.path(), "config.json", &[("cdi-dir", "cdi")]);
        all.push("--metrics-address=0".to_owned());
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let log = dir.path().join("log");
        let _ = fs::remove_file(&log);
        let binary = Path::new("/opt/virtfn/sriov-device-plugin");
        let plugin = Plugin::start(binary, &all, &log).unwrap();
        let scrape = Scrape::of_log(&log).unwrap();
        Self {
            dir,
            kubelet,
            plugin,
            scrape,
        }
    }

    /// Kills the plugin, and starts it and the kubelet double again.
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

    fn wait_for(&self, ids: &[&str]) {
        let has = |known: &sriov_testkit::kubelet::Resources| {
            known.get(RESOURCE).is_some_and(|known| known.ids() == ids)
        };
        self.kubelet
            .wait_for(&format!("{ids:?} are listed"), has)
            .unwrap();
    }
}

fn info(answer: &ContainerAllocateResponse) -> Value {
    serde_json::from_str(&answer.envs["PCIDEVICE_X_Y_VF_INFO"]).unwrap()
}

fn is_char_device(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

#[test]
fn userspace_drivers_get_existing_device_nodes() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let [vfio, uio, kernel] = [0, 1, 2].map(|index| pf.vf(index).unwrap());
    let _vfio = Driver::bind(&vfio, "vfio-pci").unwrap();
    let _uio = Driver::bind(&uio, "uio_pci_generic").unwrap();
    let stack = Stack::start(&[]);
    stack.wait_for(&[&vfio, &uio, &kernel]);
    let answer = stack.kubelet.allocate(RESOURCE, &[&vfio, &uio]).unwrap();
    let group = fs::read_link(format!("/sys/bus/pci/devices/{vfio}/iommu_group")).unwrap();
    let group = format!("/dev/vfio/{}", group.file_name().unwrap().to_str().unwrap());
    let info = info(&answer);
    assert_eq!(
        info[&vfio]["vfio"],
        json!({ "mount": "/dev/vfio/vfio", "dev-mount": group })
    );
    let uio_node = info[&uio]["uio"]["mount"].as_str().unwrap();
    assert_eq!(answer.devices.len(), 3);
    for node in &answer.devices {
        assert!(is_char_device(&node.host_path), "{node:?}");
    }
    assert!(is_char_device(uio_node));
    let answer = stack.kubelet.allocate(RESOURCE, &[&kernel]).unwrap();
    assert!(answer.devices.is_empty(), "{answer:?}");
    stack.plugin.stop().unwrap();
}

#[test]
fn removed_vf_is_refused() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let stack = Stack::start(&[]);
    stack.wait_for(&[&vf]);
    stack.kubelet.allocate(RESOURCE, &[&vf]).unwrap();
    pf.set_vfs(0).unwrap();
    stack.kubelet.allocate(RESOURCE, &[&vf]).unwrap_err();
    // The container may start: the kubelet does not wait for the plugin either.
    stack.kubelet.pre_start(RESOURCE, &[&vf]).unwrap();
    stack.plugin.stop().unwrap();
}

#[test]
fn files_of_running_pods_return_and_others_are_removed() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let (held, unheld) = (pf.vf(0).unwrap(), pf.vf(1).unwrap());
    let _drivers = [&held, &unheld].map(|vf| Driver::bind(vf, "vfio-pci").unwrap());
    let flags = ["--use-cdi"];
    let stack = Stack::start(&flags);
    stack.wait_for(&[&held, &unheld]);
    let answer = stack.kubelet.allocate(RESOURCE, &[&held, &unheld]).unwrap();
    assert!(answer.devices.is_empty());
    assert_eq!(answer.cdi_devices[0].name, format!("x.y/vf={held}"));
    let files = |id: &str| {
        let dir = stack.dir.path();
        [
            dir.join(format!("devinfo/x.y-vf-{id}-device.json")),
            dir.join(format!("cdi/virtfn-x.y_vf_{id}.json")),
        ]
    };
    let (of_held, of_unheld) = (files(&held), files(&unheld));
    let before = of_held
        .each_ref()
        .map(|path| fs::read_to_string(path).unwrap());
    let cdi: Value = serde_json::from_str(&before[1]).unwrap();
    for node in cdi["devices"][0]["containerEdits"]["deviceNodes"]
        .as_array()
        .unwrap()
    {
        assert!(is_char_device(node["path"].as_str().unwrap()), "{node}");
    }
    stack
        .kubelet
        .pods(|pods| pods.run("runs", RESOURCE, &[&held]));
    for path in &of_held {
        fs::remove_file(path).unwrap();
    }
    let stack = stack.restarted(&flags);
    wait_for("the files of the running pod exist again", || {
        of_held.iter().all(|path| path.exists())
    })
    .unwrap();
    let after = of_held
        .each_ref()
        .map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(after, before);
    wait_for("the files without a pod are gone", || {
        of_unheld.iter().all(|path| !path.exists())
    })
    .unwrap();
    assert!(of_held.iter().all(|path| path.exists()));
    stack.plugin.stop().unwrap();
}

/// The kernel's names of the counters of a VF's own network device, and ours.
const OWN_COUNTERS: [(&str, &str); 8] = [
    ("rx_bytes", "sriov_vf_receive_bytes_total"),
    ("tx_bytes", "sriov_vf_transmit_bytes_total"),
    ("rx_packets", "sriov_vf_receive_packets_total"),
    ("tx_packets", "sriov_vf_transmit_packets_total"),
    ("rx_dropped", "sriov_vf_receive_dropped_total"),
    ("tx_dropped", "sriov_vf_transmit_dropped_total"),
    ("multicast", "sriov_vf_receive_multicast_total"),
    ("tx_errors", "sriov_vf_transmit_errors_total"),
];

#[test]
fn counters_of_a_vf_are_those_of_its_network_device() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let vfs = [pf.vf(0).unwrap(), pf.vf(1).unwrap()];
    let stack = Stack::start(&[]);
    stack.wait_for(&[&vfs[0], &vfs[1]]);
    // The kernel sends multicast of IPv6 when a device is set up.
    let netdev = netdev_of(&vfs[1]).unwrap();
    ip(&["link", "set", &netdev, "up"]).unwrap();
    let statistics = Path::new("/sys/class/net").join(&netdev).join("statistics");
    let read = |name: &str| fs::read_to_string(statistics.join(name)).unwrap();
    wait_for("packets are sent", || read("tx_packets") != "0\n").unwrap();
    ip(&["link", "set", &netdev, "down"]).unwrap();
    for (file, metric) in OWN_COUNTERS {
        let labels = format!(r#"{metric}{{pf="pf0",vf="1",pci_address="{}""#, vfs[1]);
        let value = format!(" {}", read(file).trim());
        let page = stack.scrape.page().unwrap();
        let has_value = |line: &str| line.starts_with(&labels) && line.ends_with(&value);
        assert!(page.lines().any(has_value), "{labels}{value}\n{page}");
    }
    stack.plugin.stop().unwrap();
}

#[test]
fn disagreement_about_a_holder_is_reported() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let vf = pf.vf(0).unwrap();
    let stack = Stack::start(&[]);
    stack.wait_for(&[&vf]);
    let own_counter = format!(r#"sriov_vf_rx_bytes{{pf="pf0",vf="0",pciAddr="{vf}""#);
    let has_counter = |page: &str| page.lines().any(|line| line.starts_with(&own_counter));
    assert!(has_counter(&stack.scrape.page().unwrap()));

    stack.kubelet.allocate(RESOURCE, &[&vf]).unwrap();
    stack
        .kubelet
        .pods(|pods| pods.run("pod-a", RESOURCE, &[&vf]));
    let pod = Netns::new("pod-a").unwrap();
    let config = json!({ "cniVersion": "1.1.0", "name": "test", "type": "sriov" });
    let attachment = Attachment {
        pod: pod.name.clone(),
        container_id: "pod-a".into(),
        netns: pod.path(),
        ifname: "net1".into(),
        device_id: vf.clone(),
        mac: None,
    };
    let cni = |verb| {
        let config = {
            let mut config = config.clone();
            config["deviceID"] = json!(vf);
            config
        };
        let answer = call(Path::new("/opt/cni/bin"), verb, &config, &attachment).unwrap();
        assert_eq!(answer.code, Some(0), "{verb}: {}", answer.document);
    };
    cni("ADD");
    let held = format!(
        r#"sriov_kubepoddevice{{pciAddr="{vf}",dev_type="x.y/vf",namespace="default",pod="pod-a",container="app"}} 1"#
    );
    stack.scrape.wait_for_line(&held, true).unwrap();
    let page = stack.scrape.page().unwrap();
    assert!(
        !page.contains("sriov_device_plugin_device_finding{"),
        "{page}"
    );
    assert!(
        !has_counter(&page),
        "igb has no counters of a VF in a pod, so the page must not have zeros: {page}"
    );

    // The kubelet no longer reports the pod, and no DEL was called.
    stack.kubelet.pods(|pods| pods.pods.clear());
    stack.kubelet.allocate(RESOURCE, &[&vf]).unwrap();
    let leaked =
        format!(r#"sriov_device_plugin_device_finding{{pci_address="{vf}",finding="leaked"}} 1"#);
    stack.scrape.wait_for_line(&leaked, true).unwrap();
    cni("DEL");
    stack.scrape.wait_for_line(&leaked, false).unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
    stack.plugin.stop().unwrap();
}
