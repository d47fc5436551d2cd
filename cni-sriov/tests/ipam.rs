//! IPAM plugins that misbehave, on a constructed tree and a kernel in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a test fails by a panic"
)]

#[path = "support/machine.rs"]
mod machine;

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sriov_cni::{Failure, Verb};

use self::machine::{Machine, PF, before};

fn fields(plugin: &str) -> Value {
    json!({ "vlan": 100, "ipam": { "type": plugin } })
}

/// Only ADD misbehaves.
fn add_refused(script: &str, limit: u32) -> Failure {
    let machine = Machine::new(1, before());
    machine.add_ipam(
        "odd",
        &format!("test $CNI_COMMAND = ADD || exit 0\n{script}"),
    );
    let mut fields = fields("odd");
    fields["ipamTimeout"] = limit.into();
    let failure = machine.call(Verb::Add, &fields).unwrap_err();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty(), "{:?}", machine.state());
    failure
}

#[test]
fn plugin_that_hangs_is_named_and_the_add_undone() {
    let failure = add_refused("sleep 100", 2);
    assert_eq!(failure.code(), 103);
    assert_eq!(
        failure.to_string(),
        "the IPAM plugin `odd` did not finish ADD within 2 s"
    );
}

#[test]
fn endless_result_is_refused_and_the_add_undone() {
    let failure = add_refused("cat /dev/zero", 60);
    assert_eq!(failure.code(), 103);
    assert_eq!(
        failure.to_string(),
        "the result of the IPAM plugin `odd` has more than 1048576 bytes"
    );
}

#[test]
fn descendant_of_a_plugin_does_not_delay_the_result() {
    let machine = Machine::new(1, before());
    let result = r#"{"cniVersion": "1.1.0", "ips": [{"address": "192.0.2.10/24"}]}"#;
    machine.add_ipam("odd", &format!("sleep 30 &\necho '{result}'"));
    let started = Instant::now();
    let added = machine.call(Verb::Add, &fields("odd")).unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(added["ips"][0]["address"], "192.0.2.10/24");
    machine.call(Verb::Del, &fields("odd")).unwrap();
    assert!(machine.state().is_empty());
}

#[test]
fn plugin_that_is_this_program_is_refused() {
    let machine = Machine::new(1, before());
    machine.add_ipam("other", "");
    symlink(
        std::env::current_exe().unwrap(),
        machine.root.path().join("bin/itself"),
    )
    .unwrap();
    let fields = fields("itself");
    for (verb, code) in [(Verb::Add, 7), (Verb::Status, 50), (Verb::Gc, 7)] {
        let failure = machine.call(verb, &fields).unwrap_err();
        let document = failure.document("{}");
        assert_eq!(failure.code(), code, "{verb}: {document}");
        assert!(
            document
                .to_string()
                .contains("`itself` is this plugin itself"),
            "{verb}: {document}"
        );
    }
    // Nothing can be attached with it, so there is nothing to release.
    machine.call(Verb::Del, &fields).unwrap();
    assert!(machine.state().is_empty());
}

/// An ADD on a VF whose PF does not keep a setting, while the plugin runs this script; returns the failure, and what the plugin wrote.
fn add_with_a_refused_setting(script: &str) -> (Failure, String) {
    let machine = Machine::new(1, before());
    machine.kernel.freeze(PF, "trust");
    let log = machine.root.path().join("log");
    let write = |word: &str| format!("echo {word} >>{}\n", log.display());
    let [begin, end] = ["begin", "end"].map(|word| write(&format!("$CNI_COMMAND {word}")));
    let result = r#"echo '{"cniVersion": "1.1.0", "ips": []}'"#;
    machine.add_ipam("odd", &format!("{begin}{script}\n{result}\n{end}"));
    let mut fields = fields("odd");
    fields["trust"] = "on".into();
    let failure = machine.call(Verb::Add, &fields).unwrap_err();
    assert_eq!(machine.settings(), before());
    assert!(machine.state().is_empty(), "{:?}", machine.state());
    (failure, std::fs::read_to_string(log).unwrap())
}

#[test]
fn addresses_of_a_failed_attachment_are_released_at_the_end() {
    // The PF is given two seconds to keep the setting.
    for seconds in [0, 4] {
        let (failure, calls) = add_with_a_refused_setting(&format!("sleep {seconds}"));
        assert_eq!(failure.code(), 100, "{failure}");
        assert_eq!(calls, "ADD begin\nADD end\nDEL begin\nDEL end\n");
    }
}

#[test]
fn failures_of_ipam_and_of_the_vf_are_both_reported() {
    let (failure, calls) = add_with_a_refused_setting("test $CNI_COMMAND = DEL || exit 1");
    let document = failure.document("{}").to_string();
    assert!(
        document.contains("trust") && document.contains("the IPAM plugin `odd` failed"),
        "{document}"
    );
    assert_eq!(calls, "ADD begin\nDEL begin\nDEL end\n");
}
