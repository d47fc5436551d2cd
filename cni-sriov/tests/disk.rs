//! State directories that are torn, foreign, unreadable or of a later version, on a constructed tree and a kernel in memory.

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
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sriov_cni::Verb;

use self::machine::{Machine, before};

fn fields() -> Value {
    json!({ "vlan": 100, "trust": "on" })
}

fn attached() -> Machine {
    let machine = Machine::new(1, before());
    machine.call(Verb::Add, &fields()).unwrap();
    machine
}

fn entry(machine: &Machine) -> PathBuf {
    machine.root.path().join("state/0000:01:10.0.json")
}

#[test]
fn del_of_what_was_never_attached_succeeds_on_any_disk() {
    let spoil: [fn(&mut Machine, &Path); 8] = [
        |_, state| fs::write(state, "a file").unwrap(),
        |machine, _| machine.setup.state_dir = "/proc/nowhere".into(),
        |_, state| {
            fs::create_dir(state).unwrap();
            fs::write(state.join("pci"), "a file").unwrap();
        },
        |_, state| {
            fs::create_dir(state).unwrap();
            fs::write(state.join("d-net1"), b"\xff").unwrap();
            fs::write(state.join("c-net1"), b"\xff").unwrap();
            fs::write(state.join("0000:01:10.2.json"), "{").unwrap();
            fs::write(state.join("owed"), "a file").unwrap();
        },
        |_, state| fs::create_dir_all(state.join("0000:01:10.0.json")).unwrap(),
        |_, state| fs::create_dir_all(state.join("c-net1")).unwrap(),
        |_, state| {
            fs::create_dir(state).unwrap();
            fs::write(state.join("0000:01:10.0.json"), r#"{"version":2}"#).unwrap();
        },
        |_, state| {
            let text = r#"{"version":2,"network":"n","container_id":"d","ifname":"net1"}"#;
            fs::create_dir(state).unwrap();
            fs::write(state.join("0000:01:10.0.json"), text).unwrap();
        },
    ];
    for (case, spoil) in spoil.into_iter().enumerate() {
        let mut machine = Machine::new(1, before());
        let state = machine.setup.state_dir.clone();
        spoil(&mut machine, &state);
        for fields in [fields(), json!({ "deviceID": null })] {
            let done = machine.call(Verb::Del, &fields);
            assert!(done.is_ok(), "{case}: {}", done.unwrap_err().document("{}"));
            assert_eq!(machine.settings(), before(), "{case}");
        }
    }
}

#[test]
fn attachment_is_released_where_no_lock_can_be_created() {
    let machine = attached();
    let locks = machine.root.path().join("state/pci/vf_lock");
    fs::remove_dir_all(&locks).unwrap();
    fs::write(&locks, "a file").unwrap();
    machine.call(Verb::Del, &fields()).unwrap();
    assert_eq!(machine.settings(), before());
}

#[test]
fn disk_error_is_reported_after_the_vf_is_restored() {
    let machine = attached();
    // The Go plugin's copy cannot be removed.
    let copy = machine.root.path().join("state/c-net1");
    fs::remove_file(&copy).unwrap();
    fs::create_dir(&copy).unwrap();
    let failure = machine.call(Verb::Del, &fields()).unwrap_err();
    assert_eq!(failure.code(), 102);
    assert_eq!(machine.settings(), before());
    fs::remove_dir(&copy).unwrap();
    machine.call(Verb::Del, &fields()).unwrap();
    assert!(machine.state().is_empty());
}

#[test]
fn file_of_a_later_version_is_left_alone() {
    let machine = attached();
    let attached = machine.settings();
    let text = fs::read_to_string(entry(&machine)).unwrap();
    let later = text.replace(r#""version":1"#, r#""version":2"#);
    fs::write(entry(&machine), &later).unwrap();
    for verb in [Verb::Add, Verb::Del] {
        let failure = machine.call(verb, &fields()).unwrap_err();
        assert_eq!(failure.code(), 102, "{verb}: {failure}");
        assert!(failure.to_string().contains("has version 2"), "{failure}");
    }
    machine
        .call(Verb::Del, &json!({ "deviceID": null }))
        .unwrap_err();
    machine.call_for("other", Verb::Del, &fields()).unwrap();
    let listed = json!({ "cni.dev/valid-attachments": [] });
    machine.call(Verb::Gc, &listed).unwrap();
    assert_eq!(machine.settings(), attached);
    assert_eq!(fs::read_to_string(entry(&machine)).unwrap(), later);
    fs::write(entry(&machine), text).unwrap();
    machine.call(Verb::Del, &fields()).unwrap();
    assert_eq!(machine.settings(), before());
}

#[test]
fn key_of_another_version_changes_nothing() {
    let machine = attached();
    let text = fs::read_to_string(entry(&machine)).unwrap();
    let more = text.replacen('{', r#"{"reason":"x","#, 1);
    fs::write(entry(&machine), more).unwrap();
    machine.call(Verb::Del, &fields()).unwrap();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty());
}
