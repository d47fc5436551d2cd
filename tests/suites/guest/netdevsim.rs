//! `host::netlink` against a real kernel with more VFs and settings than the emulated NIC has: netdevsim, the kernel's own simulated device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use sriov_host::netlink::Netlink;
use sriov_host::vf::{VfChange, VfLinkState, VfRate};
use sriov_host::vlan::{Vlan, VlanProto};
use sriov_host::{MacAddr, VfIndex};
use sriov_testkit::node::{modules, wait_for};

const DEADLINE: Duration = Duration::from_secs(30);
/// Number of the simulated device; its PCI functions do not exist.
const ID: u32 = 7;
/// More than the length of a VF list can express: 334.
const MANY: u16 = 512;

/// A simulated PF; the device is removed with it.
struct Simulated {
    index: u32,
}

impl Simulated {
    fn with_vfs(count: u16) -> Self {
        modules::load("netdevsim").unwrap();
        fs::write("/sys/bus/netdevsim/new_device", format!("{ID} 1")).unwrap();
        let net = device().join("net");
        wait_for("the simulated PF has a netdev", || net.exists()).unwrap();
        let netdev = fs::read_dir(net).unwrap().next().unwrap().unwrap().path();
        let index = fs::read_to_string(netdev.join("ifindex")).unwrap();
        let simulated = Self {
            index: index.trim().parse().unwrap(),
        };
        let limit = debug().join(format!("netdevsim/netdevsim{ID}/max_vfs"));
        fs::write(limit, count.to_string()).unwrap();
        fs::write(device().join("sriov_numvfs"), count.to_string()).unwrap();
        simulated
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = fs::write("/sys/bus/netdevsim/del_device", ID.to_string());
    }
}

fn device() -> PathBuf {
    PathBuf::from(format!("/sys/bus/netdevsim/devices/netdevsim{ID}"))
}

/// The kernel's file system for debugging, which has the limit of the VFs.
fn debug() -> &'static Path {
    let path = Path::new("/sys/kernel/debug");
    if !path.join("netdevsim").exists() {
        let words = ["-t", "debugfs", "debug", "/sys/kernel/debug"];
        let mounted = Command::new("/bin/mount").args(words).status();
        assert!(mounted.unwrap().success());
    }
    path
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn mac(vf: u16) -> MacAddr {
    let [high, low] = vf.to_be_bytes();
    MacAddr::new([2, 0, 0, 0, high, low])
}

fn vlan(proto: VlanProto) -> VfChange {
    VfChange::Vlan(Vlan {
        id: 100.try_into().unwrap(),
        qos: 3.try_into().unwrap(),
        proto,
    })
}

#[test]
fn every_setting_of_512_vfs_is_read_back() {
    let pf = Simulated::with_vfs(MANY);
    let changes = [
        vlan(VlanProto::Dot1ad),
        vlan(VlanProto::Dot1q),
        VfChange::Spoofchk(true),
        VfChange::Spoofchk(false),
        VfChange::Trust(true),
        VfChange::Rate(VfRate { min: 10, max: 200 }),
        VfChange::LinkState(VfLinkState::Enable),
        VfChange::LinkState(VfLinkState::Disable),
        VfChange::LinkState(VfLinkState::Auto),
    ];
    run(async {
        let netlink = Netlink::host(DEADLINE).unwrap();
        for vf in 0..MANY {
            let change = VfChange::Mac(mac(vf));
            let index = VfIndex::new(vf);
            netlink.set_vf(pf.index, index, &change).await.unwrap();
        }
        for vf in [0, 1, 176, 177, 333, 334, MANY - 1].map(VfIndex::new) {
            let read = async || netlink.vf_settings(pf.index, vf).await.unwrap().unwrap();
            assert_eq!(read().await.mac, Some(mac(vf.get())));
            for change in &changes {
                netlink.set_vf(pf.index, vf, change).await.unwrap();
                assert_eq!(change.is_done(&read().await), Some(true), "{change}");
            }
        }
    });
}

#[test]
fn list_of_512_vfs_leaves_the_link_as_it_is() {
    let pf = Simulated::with_vfs(MANY);
    run(async {
        let netlink = Netlink::host(DEADLINE).unwrap();
        let alone = netlink.link(pf.index).await.unwrap().unwrap();
        let last = VfIndex::new(MANY - 1);
        let report = netlink.vf_of_pf(pf.index, last).await.unwrap().unwrap();
        assert_eq!(report.link, alone);
        assert!(report.settings.is_some());
        let beyond = VfIndex::new(MANY);
        let report = netlink.vf_of_pf(pf.index, beyond).await.unwrap().unwrap();
        assert_eq!((report.link, report.settings), (alone, None));
        let change = VfChange::Trust(true);
        let refusal = netlink.set_vf(pf.index, beyond, &change).await;
        assert_eq!(refusal.unwrap_err().errno(), Some(Errno::EINVAL));
    });
}
