//! Attachments of a VF with a driver for user space on a constructed tree and a kernel in memory behind the real encoder:
//! settings that the emulated NIC refuses, and an error at each request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a failed expectation of a test is a panic"
)]

#[path = "support/machine.rs"]
mod machine;

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use serde_json::{Value, json};
use sriov_cni::Verb;
use sriov_host::Guid;
use sriov_host::netlink::fake::{Failure as Refusal, Request};
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::{Vlan, VlanProto};

use self::machine::{Machine, PF, before};

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
