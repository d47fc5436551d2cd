//! RDMA with a soft device (`rdma_rxe`) over a VF: what the kernel shows of it, and a VF with such a device in a pod.
//!
//! A soft device belongs to no PCI function, so what the plugins read of RDMA in sysfs is tested on constructed machines.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sriov_testkit::cni::{assert_nothing_left, attachment, in_pod, succeed};
use sriov_testkit::node::{Netns, Pf, ip, modules, netdev_of, wait_for};

const DEVICE: &str = "soft";

/// Runs iproute2's `rdma`; its message when it fails.
fn rdma(words: &[&str]) -> Result<(), String> {
    let output = Command::new("/usr/bin/rdma").args(words).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn device() -> PathBuf {
    Path::new("/sys/class/infiniband").join(DEVICE)
}

/// A soft device over a VF on a system whose RDMA devices are each in one namespace; both gone with their owner.
struct Soft;

impl Soft {
    fn over(netdev: &str) -> Self {
        modules::load("rdma").unwrap();
        // Before there is a namespace: with one, the kernel refuses to change the mode.
        rdma(&["system", "set", "netns", "exclusive"]).unwrap();
        ip(&["link", "set", netdev, "up"]).unwrap();
        rdma(&["link", "add", DEVICE, "type", "rxe", "netdev", netdev]).unwrap();
        Self
    }
}

impl Drop for Soft {
    fn drop(&mut self) {
        let _ = rdma(&["link", "delete", DEVICE]);
        let _ = rdma(&["system", "set", "netns", "shared"]);
    }
}

#[test]
fn a_soft_device_is_of_no_pci_function_and_of_no_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let netdev = netdev_of(&vf).unwrap();
    let before = pf.baseline().unwrap();
    let soft = Soft::over(&netdev);
    let target = std::fs::read_link(device()).unwrap();
    assert!(
        target.ends_with(format!("virtual/infiniband/{DEVICE}")),
        "{}",
        target.display()
    );
    let of_vf = Path::new("/sys/bus/pci/devices")
        .join(&vf)
        .join("infiniband");
    assert!(!of_vf.exists());
    let pod = Netns::new("rdma-alone").unwrap();
    let error = rdma(&["dev", "set", DEVICE, "netns", &pod.name]).unwrap_err();
    assert!(error.contains("not supported"), "{error}");
    drop((pod, soft));
    ip(&["link", "set", &netdev, "down"]).unwrap();
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn a_vf_with_a_soft_device_enters_its_pod_without_it() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let netdev = netdev_of(&vf).unwrap();
    let soft = Soft::over(&netdev);
    let before = pf.baseline().unwrap();
    let pod = Netns::new("rdma-pod").unwrap();
    let attachment = attachment(&pod, &vf);
    let fields = json!({ "cniVersion": "1.0.0", "vlan": 100 });
    succeed("ADD", &fields, &attachment);
    assert!(in_pod(&pod).is_object(), "the VF is in the pod");
    wait_for("the soft device is gone", || !device().exists()).unwrap();
    succeed("DEL", &fields, &attachment);
    assert_nothing_left();
    assert_eq!(pf.baseline().unwrap(), before);
    drop(soft);
    ip(&["link", "set", &netdev, "down"]).unwrap();
}
