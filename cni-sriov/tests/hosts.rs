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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use serde_json::json;
use sriov_cni::Verb;
use sriov_host::netlink::Link;
use sriov_host::netlink::fake::{Failure as Refusal, Request};
use sriov_host::vf::{VfRate, VfSettings};
use sriov_host::{MacAddr, VfIndex};

use self::machine::{Machine, PF, VF, before};

/// `IFLA_VFINFO_LIST`, nested (`include/uapi/linux/if_link.h`).
const VFINFO_LIST: u16 = 0x8016;

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

/// The list has no VF at all: most drivers just do not describe VFs, but `ice` and `i40e` return EBUSY or EAGAIN for each VF that is reset.
#[test]
fn empty_list_is_busy_only_with_drivers_that_leave_out_vfs() {
    for (driver, is_busy) in [
        ("ice", true),
        ("i40e", true),
        ("mlx5_core", false),
        ("bnxt_en", false),
    ] {
        let machine = Machine::new(1, before());
        let link = machine
            .root
            .path()
            .join("sys/bus/pci/devices/0000:01:00.0/driver");
        fs::remove_file(&link).unwrap();
        symlink(format!("../../drivers/{driver}"), &link).unwrap();
        let pf = machine.kernel.link(PF).unwrap();
        machine.kernel.add_link(pf);
        machine.kernel.add_attribute(PF, VFINFO_LIST, &[]);
        let failure = machine.call(Verb::Add, &json!({ "trust": "on" })).err();
        let busy = "the PF `0000:01:00.0` does not describe the VF `0000:01:10.0` now: its driver is busy with it";
        let is_refused = failure
            .as_ref()
            .is_some_and(|failure| failure.to_string() == busy);
        assert_eq!(is_refused, is_busy, "{driver}: {failure:?}");
        if is_busy {
            assert_eq!(failure.unwrap().code(), 11);
            assert!(machine.changes().is_empty() && machine.state().is_empty());
        }
    }
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

/// A PF that refuses rates while the returned flag is false, as igb does without a link.
fn machine_with_link_for_rates() -> (Machine, Arc<AtomicBool>) {
    let machine = Machine::new(1, before());
    let has_link = Arc::new(AtomicBool::new(true));
    let linked = Arc::clone(&has_link);
    machine.kernel.fail_when(
        move |_, request| {
            let is_rate =
                matches!(request, Request::SetVf { change, .. } if change.setting() == "max_tx_rate");
            is_rate && !linked.load(Ordering::Relaxed)
        },
        Refusal::errno(Errno::EINVAL),
    );
    (machine, has_link)
}

#[test]
fn rate_that_needs_a_link_is_restored_when_there_is_one() {
    for last in [Verb::Add, Verb::Status, Verb::Del] {
        let (machine, has_link) = machine_with_link_for_rates();
        let fields = json!({ "max_tx_rate": 70, "trust": "on", "vlan": 100 });
        machine.call(Verb::Add, &fields).unwrap();
        has_link.store(false, Ordering::Relaxed);
        machine.kernel.set_state(PF, true, false);
        for verb in [Verb::Del, Verb::Del, Verb::Status] {
            machine.call(verb, &fields).unwrap();
            let expected = VfSettings {
                rate: Some(VfRate { min: 0, max: 70 }),
                ..before()
            };
            assert_eq!(machine.settings(), expected);
            assert_eq!(machine.state(), ["0000:01:10.0.json"]);
        }
        let failure = machine
            .call_for("next", Verb::Add, &json!({ "trust": "on" }))
            .unwrap_err();
        assert_eq!(failure.code(), 11);
        assert_eq!(
            failure.to_string(),
            "VF 0000:01:10.0 still has max_tx_rate of an earlier attachment: `0000:01:00.0` can change it only while it has a link"
        );
        has_link.store(true, Ordering::Relaxed);
        machine.kernel.set_state(PF, true, true);
        let call = machine.call_for(
            if last == Verb::Add { "next" } else { "c" },
            last,
            &json!({}),
        );
        call.unwrap();
        assert_eq!(machine.settings(), before(), "{last}");
        assert_eq!(machine.state().is_empty(), last != Verb::Add, "{last}");
    }
}

#[test]
fn rate_that_is_refused_with_a_link_holds_the_vf_back() {
    let (machine, accepts) = machine_with_link_for_rates();
    let fields = json!({ "max_tx_rate": 70 });
    machine.call(Verb::Add, &fields).unwrap();
    accepts.store(false, Ordering::Relaxed);
    assert_eq!(machine.call(Verb::Del, &fields).unwrap_err().code(), 100);
    // The rate is postponed without a link, and refused again with one.
    machine.kernel.set_state(PF, false, false);
    machine.call(Verb::Del, &fields).unwrap();
    machine.kernel.set_state(PF, true, true);
    assert_eq!(machine.call(Verb::Del, &fields).unwrap_err().code(), 100);
    accepts.store(true, Ordering::Relaxed);
    machine.call(Verb::Del, &fields).unwrap();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty());
}

/// The driver accepts the settings, and while the PF is down it reports the old ones.
#[test]
fn setting_that_a_down_pf_does_not_report_is_not_compared() {
    for (is_up, code) in [(false, None), (true, Some(102))] {
        let machine = Machine::new(1, before());
        let fields = json!({ "mac": "02:00:00:00:00:01", "vlan": 100 });
        machine.call(Verb::Add, &fields).unwrap();
        machine.kernel.freeze(PF, "mac");
        machine.kernel.set_state(PF, is_up, is_up);
        let failure = machine.call(Verb::Del, &fields).err();
        assert_eq!(failure.map(|failure| failure.code()), code, "{is_up}");
        assert_eq!(machine.settings().vlan, before().vlan);
        assert_eq!(machine.state().is_empty(), code.is_none(), "{is_up}");
    }
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

/// The clock was set forward after the boot: the files of the Go plugin seem to be older than the boot.
#[test]
fn vf_that_is_not_on_the_host_is_not_taken_for_released() {
    const GO: &str = r#"{"OrigVfState":{"HostIFName":"eth2","SpoofChk":true,"Trust":false,"AdminMAC":"00:00:00:00:00:00","EffectiveMAC":"02:00:00:00:00:07","Vlan":0,"VlanQoS":0,"VlanProto":129,"MinTxRate":0,"MaxTxRate":50,"LinkState":0,"MTU":1500},"Master":"pf0","vlan":100,"deviceID":"0000:01:10.0","VFID":0,"trust":"on","cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{},"dns":{}}"#;
    for (driver, is_released) in [("igbvf", true), ("vfio-pci", false)] {
        let machine = Machine::new(1, before());
        let devices = machine.root.path().join("sys/bus/pci/devices");
        let link = devices.join("0000:01:10.0/driver");
        fs::remove_file(&link).unwrap();
        symlink(format!("../../drivers/{driver}"), &link).unwrap();
        fs::write(machine.root.path().join("proc/stat"), "btime 99999999999\n").unwrap();
        fs::create_dir_all(&machine.setup.state_dir).unwrap();
        fs::write(machine.setup.state_dir.join("c-net1"), GO).unwrap();
        let spoilt = VfSettings {
            trust: Some(true),
            ..before()
        };
        machine.kernel.add_vf(PF, VF, spoilt);
        let done = machine.call(Verb::Del, &json!({}));
        // The network device is in the pod: its driver would have to be restarted, which this tree cannot show.
        assert_eq!(done.is_err(), is_released, "{driver}");
        let expected = if is_released { before() } else { spoilt };
        assert_eq!(machine.settings(), expected, "{driver}");
    }
}
