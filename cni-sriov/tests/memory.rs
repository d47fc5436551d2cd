//! Attachments of a VF with a driver for user space on a constructed tree and a kernel in memory behind the real encoder:
//! settings that the emulated NIC refuses, and an error at each request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation of a test is a panic"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use serde_json::{Value, json};
use sriov_cni::{Environment, Failure, OpenHost, Setup, Verb};
use sriov_host::netlink::fake::{Failure as Refusal, FakeKernel, Request};
use sriov_host::netlink::{Link, Netlink};
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::{Vlan, VlanProto};
use sriov_host::{Guid, HostRoot, VfIndex};

const PF: u32 = 3;
const VF: VfIndex = VfIndex::new(0);

/// A machine with one PF and one VF, which is bound to vfio-pci.
struct Machine {
    root: tempfile::TempDir,
    kernel: FakeKernel,
    setup: Setup,
}

fn before() -> VfSettings {
    VfSettings {
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(false),
        rate: Some(VfRate { min: 0, max: 50 }),
        link_state: Some(VfLinkState::Auto),
        ..VfSettings::default()
    }
}

impl Machine {
    /// `link_type` is the PF's `ARPHRD_*` number.
    fn new(link_type: u16, settings: VfSettings) -> Self {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("sys/bus/pci/devices");
        let write = |file: &str, text: &str| {
            let path = devices.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        write("0000:01:00.0/sriov_totalvfs", "8");
        write("0000:01:00.0/sriov_offset", "128");
        write("0000:01:00.0/sriov_stride", "2");
        write("0000:01:00.0/net/pf0/ifindex", &PF.to_string());
        write("0000:01:00.0/net/pf0/type", &link_type.to_string());
        write("0000:01:10.0/vendor", "0x15b3");
        for (from, to) in [
            ("0000:01:00.0/driver", "../../drivers/mlx5_core"),
            ("0000:01:00.0/virtfn0", "../0000:01:10.0"),
            ("0000:01:10.0/physfn", "../0000:01:00.0"),
            ("0000:01:10.0/driver", "../../drivers/vfio-pci"),
        ] {
            symlink(to, devices.join(from)).unwrap();
        }
        let boot_id = root.path().join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
        fs::write(boot_id, "boot\n").unwrap();

        let kernel = FakeKernel::default();
        kernel.add_link(Link {
            index: PF,
            name: "pf0".into(),
            mac: (link_type == 1).then(|| "02:00:00:00:00:10".parse().unwrap()),
            mtu: 1500,
            is_up: true,
            has_carrier: true,
            device: Some("0000:01:00.0".parse().unwrap()),
            ..Link::default()
        });
        kernel.add_vf(PF, VF, settings);
        let of = kernel.clone();
        let setup = Setup {
            host: HostRoot::new(root.path()),
            state_dir: root.path().join("state"),
            device_info_dir: root.path().join("devinfo"),
            request_deadline: Duration::from_millis(200),
            lock_deadline: Duration::from_millis(200),
            open_host: OpenHost(Arc::new(move |deadline| Netlink::fake(&of, deadline))),
        };
        Self {
            root,
            kernel,
            setup,
        }
    }

    fn call(&self, verb: Verb, fields: &Value) -> Result<Option<Value>, Failure> {
        let mut conf = json!({ "cniVersion": "1.1.0", "name": "n", "type": "sriov", "deviceID": "0000:01:10.0" });
        conf.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        // Any other namespace does: the VF has no network device that could move.
        let environment = Environment::new([
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "net1"),
            ("CNI_NETNS", "/proc/self/ns/net"),
            ("CNI_NETNS_OVERRIDE", "1"),
        ]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(sriov_cni::run(
            &self.setup,
            verb,
            &environment,
            &conf.to_string(),
        ))
    }

    fn settings(&self) -> VfSettings {
        self.kernel.vf(PF, VF).unwrap()
    }

    /// Names in the state directory, the locks aside.
    fn state(&self) -> Vec<String> {
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect::<Vec<_>>()
        };
        let dir = self.root.path().join("state");
        let mut all = [names(&dir), names(&dir.join("pci"))].concat();
        all.retain(|name| name != "pci" && name != "vf_lock");
        all
    }

    /// The settings that were changed, in order.
    fn changes(&self) -> Vec<VfChange> {
        let requests = self.kernel.requests().into_iter();
        requests
            .filter_map(|request| {
                if let Request::SetVf { change, .. } = request {
                    Some(change)
                } else {
                    None
                }
            })
            .collect()
    }
}

fn everything() -> Value {
    json!({ "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1ad", "mac": "02:00:00:00:00:01", "spoofchk": "off", "trust": "on",
        "link_state": "enable", "min_tx_rate": 10, "max_tx_rate": 100 })
}

#[test]
fn settings_that_igb_refuses_are_set_and_restored() {
    let machine = Machine::new(1, before());
    machine.call(Verb::Add, &everything()).unwrap();
    let now = machine.settings();
    let vlan = now.vlan.unwrap();
    assert_eq!(
        (vlan.id.get(), vlan.qos.get(), vlan.proto),
        (100, 3, VlanProto::Dot1ad)
    );
    assert_eq!(now.link_state, Some(VfLinkState::Enable));
    assert_eq!(now.rate, Some(VfRate { min: 10, max: 100 }));
    assert_eq!((now.spoofchk, now.trust), (Some(false), Some(true)));
    // Each setting is one request, and the list of VFs is read once before and once after.
    assert_eq!(machine.changes().len(), 6);
    assert_eq!(machine.kernel.requests().len(), 8);
    let mut check = everything();
    check["prevResult"] = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "net1" }] });
    machine.call(Verb::Check, &check).unwrap();
    machine.call(Verb::Del, &everything()).unwrap();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty());
    machine.call(Verb::Del, &everything()).unwrap();
    assert_eq!(machine.settings(), before());
}

#[test]
fn guids_are_set_for_node_and_port_and_restored() {
    let was = Guid::from_number(9);
    let settings = VfSettings {
        mac: None,
        vlan: None,
        spoofchk: None,
        node_guid: Some(was),
        port_guid: Some(was),
        ..before()
    };
    let machine = Machine::new(32, settings);
    let fields = json!({ "runtimeConfig": { "infinibandGUID": "02:00:00:00:00:00:00:07" }, "link_state": "enable" });
    machine.call(Verb::Add, &fields).unwrap();
    let now = machine.settings();
    let guid = Guid::from_number(0x0200_0000_0000_0007);
    assert_eq!((now.node_guid, now.port_guid), (Some(guid), Some(guid)));
    machine.call(Verb::Del, &fields).unwrap();
    assert_eq!(machine.settings(), settings);
    let refused = machine.call(Verb::Add, &json!({ "vlan": 7, "mac": "02:00:00:00:00:01" }));
    assert_eq!(refused.unwrap_err().code(), 7);
}

#[test]
fn error_at_any_request_of_add_leaves_nothing() {
    let requests = {
        let machine = Machine::new(1, before());
        machine.call(Verb::Add, &everything()).unwrap();
        machine.kernel.requests().len()
    };
    for errno in [Errno::EOPNOTSUPP, Errno::EINVAL, Errno::EPERM] {
        for failing in 0..requests {
            let machine = Machine::new(1, before());
            let refusal = Refusal::Refuse {
                errno,
                text: Some("not today".into()),
            };
            machine
                .kernel
                .fail_when(move |number, _| number == failing, refusal);
            let failure = machine.call(Verb::Add, &everything()).unwrap_err();
            assert_eq!(failure.code(), 100, "{failing}: {failure}");
            let document = failure.document("{}");
            let details = document["details"].as_str().unwrap();
            let words = if errno == Errno::EPERM {
                "CAP_NET_ADMIN"
            } else {
                "not today"
            };
            assert!(details.contains(words), "{failing}: {document}");
            assert_eq!(machine.settings(), before(), "{failing}");
            assert!(
                machine.state().is_empty(),
                "{failing}: {:?}",
                machine.state()
            );
        }
    }
}

#[test]
fn error_at_any_request_of_del_holds_the_vf_back() {
    let requests = {
        let machine = Machine::new(1, before());
        machine.call(Verb::Add, &everything()).unwrap();
        let added = machine.kernel.requests().len();
        machine.call(Verb::Del, &everything()).unwrap();
        added..machine.kernel.requests().len()
    };
    for failing in requests {
        let machine = Machine::new(1, before());
        machine.call(Verb::Add, &everything()).unwrap();
        machine.kernel.fail_when(
            move |number, _| number == failing,
            Refusal::errno(Errno::EIO),
        );
        let failure = machine.call(Verb::Del, &everything()).unwrap_err();
        assert_eq!(failure.code(), 100, "{failing}: {failure}");
        // The VF is not attached in this state: the next ADD restores it first, and so does a DEL.
        assert!(machine.state().contains(&"0000:01:10.0.json".to_owned()));
        machine.call(Verb::Del, &everything()).unwrap();
        assert_eq!(machine.settings(), before(), "{failing}");
        assert!(machine.state().is_empty(), "{failing}");
    }
}

#[test]
fn refused_setting_is_named_and_not_set_again() {
    let machine = Machine::new(1, before());
    machine.kernel.fail_when(
        |_, request| {
            matches!(
                request,
                Request::SetVf {
                    change: VfChange::LinkState(_),
                    ..
                }
            )
        },
        Refusal::errno(Errno::EOPNOTSUPP),
    );
    let failure = machine.call(Verb::Add, &everything()).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "link_state: mlx5_core on 0000:01:00.0 refuses it for VF 0"
    );
    let attempts = machine
        .changes()
        .iter()
        .filter(|change| matches!(change, VfChange::LinkState(_)))
        .count();
    assert_eq!(attempts, 1);
    assert_eq!(machine.settings(), before());
}

#[test]
fn busy_driver_is_retried_and_silent_pf_is_not() {
    let machine = Machine::new(1, before());
    let mut times = 0;
    machine.kernel.fail_when(
        move |_, request| {
            let is_meant = matches!(
                request,
                Request::SetVf {
                    change: VfChange::Trust(_),
                    ..
                }
            );
            times += usize::from(is_meant);
            is_meant && times <= 2
        },
        Refusal::errno(Errno::EBUSY),
    );
    machine.call(Verb::Add, &json!({ "trust": "on" })).unwrap();
    assert_eq!(machine.settings().trust, Some(true));
    assert_eq!(machine.changes().len(), 3);
    machine.call(Verb::Del, &json!({ "trust": "on" })).unwrap();

    machine.kernel.fail_when(
        |_, request| matches!(request, Request::SetVf { .. }),
        Refusal::Silence,
    );
    let failure = machine
        .call(Verb::Add, &json!({ "trust": "on" }))
        .unwrap_err();
    assert_eq!(failure.code(), 100);
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty());
}

#[test]
fn unreported_settings_go_back_to_the_driver_defaults() {
    let machine = Machine::new(1, before());
    for setting in ["spoofchk", "trust", "link_state"] {
        machine.kernel.hide(PF, setting);
    }
    let fields = json!({ "trust": "on", "spoofchk": "off", "link_state": "enable" });
    machine.call(Verb::Add, &fields).unwrap();
    assert_eq!(machine.settings().trust, Some(true));
    machine.call(Verb::Del, &fields).unwrap();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty());
}

#[test]
fn only_device_info_of_the_attachment_is_completed() {
    let machine = Machine::new(1, before());
    let dir = machine.root.path().join("devinfo/cni");
    fs::create_dir_all(&dir).unwrap();
    let add = |path: &Path| {
        let fields = json!({ "runtimeConfig": { "CNIDeviceInfoFile": path } });
        machine.call(Verb::Add, &fields).unwrap();
        machine.call(Verb::Del, &fields).unwrap();
        let text = fs::read_to_string(path).ok()?;
        Some(serde_json::from_str::<Value>(&text).unwrap())
    };
    let whole = json!({ "type": "pci", "version": "1.1.0",
        "pci": { "pci-address": "0000:01:10.0", "pf-pci-address": "0000:01:00.0" } });
    assert_eq!(add(&dir.join("new")), Some(whole.clone()));
    let mut old = whole.clone();
    old["pci"]["rdma-device"] = json!("mlx5_2");
    old["pci"].as_object_mut().unwrap().remove("pf-pci-address");
    fs::write(dir.join("old"), old.to_string()).unwrap();
    let completed = add(&dir.join("old")).unwrap();
    assert_eq!(
        (
            &completed["pci"]["rdma-device"],
            &completed["pci"]["pf-pci-address"]
        ),
        (&json!("mlx5_2"), &json!("0000:01:00.0"))
    );
    for elsewhere in [
        machine.root.path().join("elsewhere"),
        dir.join("../../elsewhere"),
    ] {
        assert_eq!(add(&elsewhere), None);
    }
}

#[test]
fn unsupported_unreported_setting_does_not_hold_the_vf() {
    let machine = Machine::new(
        1,
        VfSettings {
            trust: None,
            ..before()
        },
    );
    machine.kernel.hide(PF, "trust");
    machine.kernel.fail_when(
        |_, request| {
            matches!(
                request,
                Request::SetVf {
                    change: VfChange::Trust(_),
                    ..
                }
            )
        },
        Refusal::errno(Errno::EOPNOTSUPP),
    );
    let failure = machine.call(Verb::Add, &everything()).unwrap_err();
    assert!(failure.to_string().starts_with("trust:"), "{failure}");
    assert!(machine.state().is_empty(), "{failure}");
    assert_eq!(machine.settings().vlan, Some(Vlan::default()));
}
