//! Attachments on real VFs while nobody reads what the plugin writes.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sriov_testkit::cni::{BIN, assert_nothing_left, attachment, config, in_pod, succeed};
use sriov_testkit::multus::{Answer, Attachment, answer, set_environment};
use sriov_testkit::node::{Netns, Pf};

/// A pipe that takes nothing more, as file descriptor 9.
const FULL_PIPE: &str =
    "rm -f /tmp/full; mkfifo /tmp/full; exec 9<>/tmp/full; head -c 65536 /dev/zero >&9";

fn fields() -> Value {
    json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:0d:01", "trust": "on", "logLevel": "debug" })
}

/// Calls the plugin from a shell: after `before`, and with a redirection of its streams.
fn redirected(verb: &str, (before, redirection): (&str, &str), attachment: &Attachment) -> Answer {
    let mut shell = Command::new("/bin/busybox");
    set_environment(&mut shell, Path::new(BIN), verb, attachment);
    let script = format!("{before}\nexec {BIN}/sriov {redirection}");
    shell.args(["sh", "-c", &script]);
    answer(shell, &config(&attachment.device_id, &fields()).to_string()).unwrap()
}

#[test]
fn attachment_is_complete_whoever_reads_the_log() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("unread").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    for how in [
        ("", "2>&-"),
        ("", "2>/dev/full"),
        (FULL_PIPE, "2>&9 9>&-"),
        (FULL_PIPE, "2>&9"),
    ] {
        let added = redirected("ADD", how, &attachment);
        assert_eq!(added.code, Some(0), "{how:?} {}", added.document);
        assert_eq!(added.document["interfaces"][0]["name"], "net1", "{how:?}");
        assert_ne!(in_pod(&pod), Value::Null, "{how:?}");
        let deleted = redirected("DEL", how, &attachment);
        assert_eq!(deleted.code, Some(0), "{how:?} {}", deleted.document);
        assert_eq!(pf.baseline().unwrap(), before, "{how:?}");
        assert_nothing_left();
    }
}

/// The runtime takes an ADD for failed whose result it did not get, and calls DEL.
#[test]
fn attachment_without_a_reader_of_its_result_is_released() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("unheard").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    for (how, code) in [
        (("", ">/dev/full"), 1),
        ((FULL_PIPE, ">&9 9>&-"), 1),
        // The runtime of the language opens /dev/null in place of a closed stream.
        (("", ">&-"), 0),
    ] {
        let added = redirected("ADD", how, &attachment);
        assert_eq!(added.code, Some(code), "{how:?} {}", added.log);
        // DEL has no result, so that nothing can go wrong with it.
        let deleted = redirected("DEL", how, &attachment);
        assert_eq!(deleted.code, Some(0), "{how:?} {}", deleted.log);
        assert_eq!(pf.baseline().unwrap(), before, "{how:?}");
        assert_nothing_left();
    }
    succeed("DEL", &fields(), &attachment);
}
