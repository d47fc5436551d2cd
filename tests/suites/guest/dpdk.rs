//! A program of DPDK on a VF that it requested as a resource: Debian's `dpdk-testpmd` answers pings across the wire, in the VLAN of its network.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use sriov_device_plugin::proto::v1beta1::ContainerAllocateResponse;
use sriov_testkit::cni::{attachment, succeed};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::{Driver, Netns, Pf, ip, netdev_of, ping, wait_for};
use sriov_testkit::plugin::{self, Plugin};

const RESOURCE: &str = "x.y/dpdk";
const MAC: &str = "02:00:00:00:0d:01";
/// An address of the program, which answers for every address.
const NEAR: &str = "192.0.2.1";

/// The command of the pod's container: the address of the VF comes from the environment alone.
const PROGRAM: &str = "exec /usr/bin/dpdk-testpmd --no-huge -m 64 --no-telemetry --in-memory -l 0,1 \
    -d /usr/lib/dpdk/librte_mempool_ring.so -d /usr/lib/dpdk/librte_net_e1000.so \
    -a \"$PCIDEVICE_X_Y_DPDK\" -- --forward-mode=icmpecho --total-num-mbufs=2048 --nb-cores=1 --stats-period=1";

/// A running `dpdk-testpmd`.
struct Testpmd {
    process: Child,
    dir: tempfile::TempDir,
}

impl Testpmd {
    /// Starts it in a pod's namespace, with the environment that the allocation gives it.
    fn start(pod: &Netns, allocation: &ContainerAllocateResponse) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new("/usr/sbin/ip")
            .args([
                "netns",
                "exec",
                &pod.name,
                "/bin/busybox",
                "sh",
                "-c",
                PROGRAM,
            ])
            .env_clear()
            .envs(&allocation.envs)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let program = Self { process, dir };
        let started = wait_for("dpdk-testpmd forwards", || {
            program.log().contains("packet forwarding")
        });
        started.unwrap_or_else(|error| panic!("{error:#}\n{}", program.log()));
        program
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A VF of the other PF in a namespace, as a kernel has it, with a neighbour entry for the program.
fn far_end(pf: &Pf) -> Netns {
    let far = Netns::new("far").unwrap();
    let netdev = netdev_of(&pf.vf(0).unwrap()).unwrap();
    let inside = |words: &[&str]| {
        let mut all = vec!["-netns", far.name.as_str()];
        all.extend(words);
        ip(&all).unwrap();
    };
    ip(&["link", "set", &netdev, "netns", &far.name]).unwrap();
    inside(&["link", "set", &netdev, "up"]);
    inside(&["address", "add", "192.0.2.2/24", "dev", &netdev]);
    inside(&["neighbour", "add", NEAR, "lladdr", MAC, "dev", &netdev]);
    far
}

fn set_vlan(pf: &Pf, vlan: &str) {
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", vlan]).unwrap();
}

#[test]
fn a_requested_vf_answers_pings_in_its_vlan_only() {
    let (near, far) = (Pf::with_vfs(0, 1).unwrap(), Pf::with_vfs(1, 1).unwrap());
    let vf = near.vf(0).unwrap();
    let _vfio = Driver::bind(&vf, "vfio-pci").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "resourceList": [
        { "resourceName": "dpdk", "resourcePrefix": "x.y", "selectors": { "drivers": ["vfio-pci"] } },
    ] });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let flags = plugin::flags(dir.path(), "config.json", &[]);
    let binary = Path::new("/opt/virtfn/sriov-device-plugin");
    let plugin = Plugin::start(binary, &flags, &dir.path().join("log")).unwrap();
    kubelet
        .wait_for("the VF is listed", |known| {
            known
                .get(RESOURCE)
                .is_some_and(|known| known.ids() == [vf.as_str()])
        })
        .unwrap();
    let allocation = kubelet.allocate(RESOURCE, &[&vf]).unwrap();

    let pod = Netns::new("dpdk").unwrap();
    let attachment = attachment(&pod, &vf);
    let fields = json!({ "cniVersion": "1.0.0", "vlan": 100, "mac": MAC });
    succeed("ADD", &fields, &attachment);
    let program = Testpmd::start(&pod, &allocation);
    let other = far_end(&far);
    set_vlan(&far, "100");
    let answers = ping(&other.name, NEAR, 20, 1).unwrap();
    assert!(answers, "{}", program.log());
    set_vlan(&far, "200");
    assert!(!ping(&other.name, NEAR, 2, 1).unwrap());
    set_vlan(&far, "0");
    drop(program);
    succeed("DEL", &fields, &attachment);
    plugin.stop().unwrap();
    far.set_vfs(0).unwrap();
}
