//! Restorations against a constructed tree and a kernel in memory, with a driver that makes a new network device when it is bound.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use sriov_host::link::{LinkChange, LinkFlags, XdpMode};
use sriov_host::netlink::Link;
use sriov_host::netlink::fake::{Failure as Refusal, FakeKernel, Request};
use sriov_host::vf::VfSettings;
use sriov_host::{HostRoot, MacAddr};

use super::*;
use crate::model::examples;
use crate::setup::OpenHost;

/// Index of the network device that the pod had, and of the one that the driver makes.
const OLD: u32 = 5;
const NEW: u32 = 9;

/// A machine with one VF, whose network device is on the host.
struct Machine {
    root: tempfile::TempDir,
    kernel: FakeKernel,
    setup: Setup,
    saved: SavedAttachmentV1,
}

fn fresh(index: u32) -> Link {
    let mut link = Link {
        index,
        ..examples::link()
    };
    link.properties.flags = LinkFlags::MULTICAST;
    link
}

impl Machine {
    fn new(link: Link) -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = HostRoot::new(root.path());
        let mut saved = examples::saved();
        saved.wanted.clear();
        saved.baseline.driver = Some("igbvf".into());
        saved.netns.path = "/nowhere".into();
        let boot_id = root.path().join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
        fs::write(boot_id, &saved.boot_id).unwrap();
        let driver = root.path().join("sys/bus/pci/drivers/igbvf");
        fs::create_dir_all(&driver).unwrap();
        let kernel = FakeKernel::default();
        kernel.add_link(link);
        let of = kernel.clone();
        let machine = Self {
            setup: Setup {
                host,
                state_dir: root.path().join("state"),
                open_host: OpenHost(Arc::new(move |deadline| Netlink::fake(&of, deadline))),
                ..Setup::default()
            },
            root,
            kernel,
            saved,
        };
        add_netdev(&machine.device(), OLD);
        symlink("../../drivers/igbvf", machine.device().join("driver")).unwrap();
        let incarnation = sysfs::incarnation(&machine.setup.host, machine.saved.device);
        Self {
            saved: SavedAttachmentV1 {
                incarnation: incarnation.unwrap(),
                ..machine.saved
            },
            ..machine
        }
    }

    fn device(&self) -> PathBuf {
        let devices = self.root.path().join("sys/bus/pci/devices");
        devices.join(self.saved.device.to_string())
    }

    /// Lets the driver act on the writes to these of its files, each of which is a pipe.
    fn driver(&self, verbs: &'static [&'static str]) -> JoinHandle<()> {
        let driver = self.root.path().join("sys/bus/pci/drivers/igbvf");
        for verb in verbs {
            let made = Command::new("mkfifo").arg(driver.join(verb)).status();
            assert!(made.unwrap().success());
        }
        let (device, kernel) = (self.device(), self.kernel.clone());
        std::thread::spawn(move || {
            for verb in verbs {
                let address = fs::read_to_string(driver.join(verb)).unwrap();
                assert_eq!(address, "0000:01:10.0");
                let _ = fs::remove_dir_all(device.join("net"));
                kernel.remove_link(OLD);
                if *verb == "bind" {
                    kernel.add_link(fresh(NEW));
                    add_netdev(&device, NEW);
                }
            }
        })
    }

    fn restore(&self) -> Result<Vec<VfChange>, Vec<KernelError>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(restore(&self.setup, &self.saved))
    }
}

/// Adds the network device with all its files at once: a reader must not find an empty one.
fn add_netdev(device: &Path, index: u32) {
    let netdev = device.join("new/eth2");
    fs::create_dir_all(&netdev).unwrap();
    fs::write(netdev.join("type"), "1\n").unwrap();
    fs::write(netdev.join("ifindex"), format!("{index}\n")).unwrap();
    fs::rename(device.join("new"), device.join("net")).unwrap();
}

#[test]
fn clean_device_is_read_once_and_its_driver_is_left_alone() {
    let machine = Machine::new(Link {
        altnames: vec!["enp1s16".into()],
        ..fresh(OLD)
    });
    machine.restore().unwrap();
    assert_eq!(machine.kernel.requests(), [Request::ReadLink(OLD)]);
}

#[test]
fn driver_is_restarted_for_what_no_change_restores() {
    type Spoil = fn(&FakeKernel);
    let spoils: [Spoil; 5] = [
        |kernel| kernel.set_uppers(OLD, Some(true)),
        |kernel| kernel.add_program(OLD),
        |kernel| {
            let mut link = fresh(OLD);
            link.properties.promiscuity = 1;
            kernel.add_link(link);
        },
        // A program that belongs to a BPF link cannot be detached.
        |kernel| {
            let mut link = fresh(OLD);
            link.properties.xdp.insert(XdpMode::Native, 7);
            kernel.add_link(link);
            kernel.fail_when(
                |_, request| {
                    matches!(
                        request,
                        Request::SetLink {
                            change: LinkChange::DetachXdp(_),
                            ..
                        }
                    )
                },
                Refusal::errno(Errno::EINVAL),
            );
        },
        |kernel| {
            let altnames = (0..400).map(|number| format!("altname-{number}").into());
            kernel.add_link(Link {
                altnames: altnames.collect(),
                ..fresh(OLD)
            });
        },
    ];
    for spoil in spoils {
        let machine = Machine::new(fresh(OLD));
        spoil(&machine.kernel);
        let driver = machine.driver(&["unbind", "bind"]);
        machine.restore().unwrap();
        driver.join().unwrap();
        let link = machine.kernel.link(NEW).unwrap();
        assert_eq!(link.altnames, ["enp1s16"]);
        let requests = machine.kernel.requests();
        assert!(requests.len() < 12, "{requests:?}");
    }
}

#[test]
fn changed_device_is_restored_without_a_restart() {
    let mut link = fresh(OLD);
    link.mtu = 68;
    link.properties.flags = LinkFlags::NOARP | LinkFlags::PROMISC;
    link.properties.promiscuity = 1;
    link.properties.group = 77;
    link.properties.xdp.insert(XdpMode::Generic, 7);
    let machine = Machine::new(link);
    machine.restore().unwrap();
    let link = machine.kernel.link(OLD).unwrap();
    assert_eq!(link.properties, fresh(OLD).properties);
    assert_eq!(link.mtu, 1500);
}

/// Index of the PF's network device.
const PF: u32 = 3;

/// Adds the PF, with this driver, and what it reports of the VF.
fn add_pf(machine: &mut Machine, driver: &str, settings: VfSettings) {
    let devices = machine.root.path().join("sys/bus/pci/devices");
    let pf = devices.join("0000:01:00.0");
    let netdev = pf.join("net/pf0");
    fs::create_dir_all(&netdev).unwrap();
    fs::write(netdev.join("type"), "1\n").unwrap();
    fs::write(netdev.join("ifindex"), format!("{PF}\n")).unwrap();
    symlink(format!("../../drivers/{driver}"), pf.join("driver")).unwrap();
    machine.kernel.add_link(Link {
        index: PF,
        name: "pf0".into(),
        is_up: true,
        has_carrier: true,
        ..Link::default()
    });
    machine.kernel.add_vf(PF, machine.saved.vf, settings);
}

/// A PF that reports the address of a VF, whoever set it, had set none: if it set the VF's own address now, the next pod could choose no other.
#[test]
fn own_address_of_a_vf_is_not_pinned_by_the_restoration() {
    let own: MacAddr = "02:00:00:00:00:07".parse().unwrap();
    let of_pod: MacAddr = "02:00:00:00:00:01".parse().unwrap();
    for (driver, expected) in [
        ("i40e", MacAddr::ZERO),
        ("ice", MacAddr::ZERO),
        ("bnxt_en", MacAddr::ZERO),
        ("ixgbe", MacAddr::ZERO),
        ("igb", MacAddr::ZERO),
        ("mlx5_core", own),
        ("mlx4_core", own),
    ] {
        let mut machine = Machine::new(Link {
            altnames: vec!["enp1s16".into()],
            ..fresh(OLD)
        });
        let settings = |mac| VfSettings {
            mac: Some(mac),
            ..VfSettings::default()
        };
        add_pf(&mut machine, driver, settings(of_pod));
        machine.saved.baseline.settings = Some(settings(own));
        machine.saved.wanted = vec![VfChange::Mac(of_pod)];
        let _ = machine.restore();
        let requests = machine.kernel.requests().into_iter();
        let set: Vec<VfChange> = requests
            .filter_map(|request| {
                if let Request::SetVf { change, .. } = request {
                    Some(change)
                } else {
                    None
                }
            })
            .collect();
        assert!(set.contains(&VfChange::Mac(expected)), "{driver}: {set:?}");
        let other = if expected.is_zero() {
            own
        } else {
            MacAddr::ZERO
        };
        assert!(!set.contains(&VfChange::Mac(other)), "{driver}: {set:?}");
    }
}

#[test]
fn vf_that_a_dead_call_left_without_driver_is_bound() {
    let machine = Machine::new(fresh(OLD));
    fs::remove_file(machine.device().join("driver")).unwrap();
    fs::remove_dir_all(machine.device().join("net")).unwrap();
    let driver = machine.driver(&["bind"]);
    machine.restore().unwrap();
    driver.join().unwrap();
    assert_eq!(machine.kernel.link(NEW).unwrap().altnames, ["enp1s16"]);
}

#[test]
fn driver_that_cannot_be_restarted_is_the_error() {
    let machine = Machine::new(fresh(OLD));
    machine.kernel.set_uppers(OLD, Some(true));
    let errors = machine.restore().unwrap_err();
    assert!(
        matches!(errors.as_slice(), [KernelError::Driver(_)]),
        "{errors:?}"
    );
}
