//! Hosts that change during a call or are unlike most, on a constructed tree and a kernel in memory.

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
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::errno::Errno;
use serde_json::json;
use sriov_cni::Verb;
use sriov_host::netlink::Link;
use sriov_host::netlink::fake::{Failure as Refusal, Request};
use sriov_host::vf::{VfRate, VfSettings};
use sriov_host::{MacAddr, VfIndex};

use self::machine::{Machine, PF, VF, before};

/// Settings of a VF that was just created.
fn new() -> VfSettings {
    VfSettings {
        mac: Some(MacAddr::ZERO),
        rate: Some(VfRate::default()),
        ..before()
    }
}

/// Creates the VF again at the first request for which this holds.
fn recreate_at(machine: &Machine, is_meant: impl Fn(&Request) -> bool + Send + 'static) {
    let mut recreate = Some(machine.recreation());
    machine.kernel.fail_when(
        move |_, request| {
            if is_meant(request)
                && let Some(recreate) = recreate.take()
            {
                recreate();
            }
            false
        },
        Refusal::errno(Errno::EIO),
    );
}

#[test]
fn vf_created_again_before_the_first_change_is_not_changed() {
    let machine = Machine::new(1, new());
    recreate_at(&machine, |request| matches!(request, Request::ReadVfs(_)));
    let failure = machine
        .call(Verb::Add, &json!({ "vlan": 100, "trust": "on" }))
        .unwrap_err();
    assert_eq!(failure.code(), 11, "{failure}");
    assert!(machine.changes().is_empty());
    assert!(machine.state().is_empty());
}

#[test]
fn settings_on_a_vf_created_again_are_taken_back() {
    let fields = json!({ "vlan": 100, "trust": "on", "spoofchk": "off", "max_tx_rate": 70, "mac": "02:00:00:00:00:01" });
    for setting in ["vlan", "trust", "mac"] {
        let machine = Machine::new(1, new());
        recreate_at(
            &machine,
            move |request| matches!(request, Request::SetVf { change, .. } if change.setting() == setting),
        );
        let failure = machine.call(Verb::Add, &fields).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "the VF `0000:01:10.0` was removed and created again during the call"
        );
        assert_eq!(machine.settings(), new(), "{setting}");
        assert!(machine.state().is_empty());
        // The next call finds a VF like any other.
        machine.call(Verb::Add, &fields).unwrap();
    }
}

#[test]
fn vf_that_changes_until_the_lock_is_free_is_judged_afterwards() {
    let machine = Machine::new(1, before());
    let driver = machine
        .root
        .path()
        .join("sys/bus/pci/devices/0000:01:10.0/driver");
    let target = fs::read_link(&driver).unwrap();
    // The first call makes the lock.
    machine.call(Verb::Del, &json!({})).unwrap();
    fs::remove_file(&driver).unwrap();
    let lock = machine
        .root
        .path()
        .join("state/pci/vf_lock/0000:01:10.0.lock");
    let lock = fs::File::open(lock).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let add = scope.spawn(|| machine.call(Verb::Add, &json!({})));
        // Time in which a first look would find the VF without a driver.
        std::thread::sleep(Duration::from_millis(50));
        symlink(&target, &driver).unwrap();
        drop(lock);
        add.join().unwrap().unwrap();
    });
}

#[test]
fn pf_that_is_down_does_not_matter_to_user_space() {
    let machine = Machine::new(1, before());
    let mut pf = machine.kernel.link(PF).unwrap();
    pf.is_up = false;
    machine.kernel.add_link(pf);
    machine.kernel.add_vf(PF, VF, before());
    let fields = json!({ "trust": "on" });
    machine.call(Verb::Add, &fields).unwrap();
    machine.call(Verb::Del, &fields).unwrap();
    assert_eq!(machine.settings(), before());
}

#[test]
fn vf_that_the_driver_leaves_out_of_the_list_is_busy() {
    let machine = Machine::new(1, before());
    let pf = machine.kernel.link(PF).unwrap();
    // The same link, with another VF only.
    machine.kernel.add_link(Link { ..pf });
    machine.kernel.add_vf(PF, VfIndex::new(1), before());
    let failure = machine
        .call(Verb::Add, &json!({ "trust": "on" }))
        .unwrap_err();
    assert_eq!(failure.code(), 11);
    assert_eq!(
        failure.to_string(),
        "the PF `0000:01:00.0` does not describe the VF `0000:01:10.0` now: its driver is busy with it"
    );
    assert!(machine.changes().is_empty());
    machine.kernel.add_vf(PF, VF, before());
    machine.call(Verb::Add, &json!({ "trust": "on" })).unwrap();
}

#[test]
fn device_info_directory_may_be_reached_through_a_link() {
    let mut machine = Machine::new(1, before());
    let root = machine.root.path();
    let real = root.join("run/devinfo");
    fs::create_dir_all(real.join("cni")).unwrap();
    symlink(root.join("run"), root.join("var-run")).unwrap();
    symlink(root.join("elsewhere"), real.join("out")).unwrap();
    fs::create_dir(root.join("elsewhere")).unwrap();
    let linked = root.join("var-run/devinfo");
    for (dir, file, is_written) in [
        (&linked, real.join("cni/a"), true),
        (&real, linked.join("cni/b"), true),
        (&real, real.join("new/c"), true),
        (&linked, real.join("out/d"), false),
    ] {
        machine.setup.device_info_dir.clone_from(dir);
        let fields = json!({ "runtimeConfig": { "CNIDeviceInfoFile": file } });
        machine.call(Verb::Add, &fields).unwrap();
        machine.call(Verb::Del, &fields).unwrap();
        assert_eq!(file.exists(), is_written, "{}", file.display());
    }
}

#[test]
fn status_reports_what_each_add_would_refuse() {
    let machine = Machine::new(1, before());
    let failure = machine
        .call(Verb::Status, &json!({ "vlan": "28" }))
        .unwrap_err();
    assert_eq!(failure.code(), 50);
    let document = failure.document("{}");
    assert!(
        document["details"].as_str().unwrap().contains("vlan"),
        "{document}"
    );
}
