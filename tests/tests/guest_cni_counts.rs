//! What an attachment costs, in counts that no noise changes: system calls, netlink requests, processes, bytes.
#![cfg(feature = "guest")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it expects by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sriov_tests::cni::{BIN, assert_nothing_left, attachment, config, succeed};
use sriov_tests::multus::{Attachment, answer, set_environment};
use sriov_tests::node::{Netns, Pf};

/// System calls of an ADD or DEL without IPAM; the Go plugin makes about 1,300 and 900.
const CALLS: usize = 320;
/// Netlink requests likewise, the read-back included; the Go plugin sends 19 and 15.
const REQUESTS: usize = 12;
/// System calls of a static Rust program that does nothing (`guest-empty` of the bench).
const EMPTY: usize = 35;
/// Bytes of the binary that ships.
const BYTES: u64 = 3 << 20;

struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Runs a verb under strace.
    fn of(verb: &str, fields: &Value, attachment: &Attachment) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut program = Command::new("/usr/bin/strace");
        set_environment(&mut program, Path::new(BIN), verb, attachment);
        program
            .args(["-f", "-o"])
            .arg(file.path())
            .arg(format!("{BIN}/sriov"));
        let config = config(&attachment.device_id, fields);
        let done = answer(program, &config.to_string()).unwrap();
        assert_eq!(done.code, Some(0), "{verb}: {} {}", done.document, done.log);
        let text = fs::read_to_string(file.path()).unwrap();
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// Calls that were begun: a resumed one was counted, an exit is none.
    fn calls(&self) -> usize {
        let begun = |line: &&String| !line.contains(" resumed>") && !line.contains("+++");
        self.lines.iter().filter(begun).count()
    }

    fn with(&self, word: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(word)).count()
    }

    fn assert_within_budget(&self, verb: &str) {
        let (calls, requests) = (self.calls(), self.with(" sendto("));
        let fsyncs = self.with(" fsync(");
        println!("{verb}: {calls} system calls, {requests} netlink requests, {fsyncs} fsyncs");
        assert!(
            calls <= CALLS,
            "{verb}: {calls} system calls\n{}",
            self.lines.join("\n")
        );
        assert!(requests <= REQUESTS, "{verb}: {requests} requests");
        // A process of its own is only for IPAM: the threads are those that enter the pod.
        assert_eq!(self.with("execve("), 1);
        assert_eq!(self.with("fork("), 0);
    }
}

#[test]
fn an_attachment_stays_within_its_budget() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("budget").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:07:01", "spoofchk": "on", "trust": "on" });
    // The first call makes the state directory.
    succeed("DEL", &fields, &attachment);
    let add = Trace::of("ADD", &fields, &attachment);
    add.assert_within_budget("ADD");
    let result = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "net1", "sandbox": "/run/netns/budget" }] });
    let mut check = fields.clone();
    check["prevResult"] = result;
    Trace::of("CHECK", &check, &attachment).assert_within_budget("CHECK");
    let del = Trace::of("DEL", &fields, &attachment);
    del.assert_within_budget("DEL");
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn only_ipam_is_another_process_and_the_list_of_vfs_is_read_once_before_and_once_after() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("list").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "vlan": 100, "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.10/24" }] } });
    let add = Trace::of("ADD", &fields, &attachment);
    assert_eq!(add.with("execve("), 2);
    // IFLA_EXT_MASK (29) with RTEXT_FILTER_VF and RTEXT_FILTER_SKIP_STATS is what asks for the list.
    let lists = |trace: &Trace| trace.with(r"\x08\x00\x1d\x00\x09\x00\x00\x00");
    let del = Trace::of("DEL", &fields, &attachment);
    for (verb, trace) in [("ADD", &add), ("DEL", &del)] {
        let asked = trace
            .lines
            .iter()
            .filter(|line| line.contains("sendto(") && line.contains("nlmsg_len=40"))
            .count();
        assert!(asked <= 2 && lists(trace) <= 2, "{verb}: {asked}");
    }
    // Nothing is asked of the PF, nothing is read of its VFs.
    let bare = Trace::of("ADD", &json!({}), &attachment);
    assert_eq!(lists(&bare), 0);
    succeed("DEL", &json!({}), &attachment);
    assert_nothing_left();
}

#[test]
fn version_costs_little_more_than_to_start_a_process() {
    let pod = Netns::new("version").unwrap();
    let calls = Trace::of("VERSION", &json!({}), &attachment(&pod, "0000:00:00.0")).calls();
    println!("VERSION: {calls} system calls");
    assert!(calls <= EMPTY * 3 / 2, "{calls}");
}

#[test]
fn the_binary_is_small_static_and_needs_nothing_beside_it() {
    let binary = format!("{BIN}/sriov");
    let bytes = fs::metadata(&binary).unwrap().len();
    println!("binary: {bytes} bytes");
    assert!(bytes <= BYTES, "{bytes} bytes");
    // In a root directory that holds nothing else there is no loader and no library.
    let root = tempfile::tempdir().unwrap();
    fs::copy(&binary, root.path().join("sriov")).unwrap();
    let output = Command::new("/bin/busybox")
        .args(["chroot", root.path().to_str().unwrap(), "/sriov"])
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["supportedVersions"][6], "1.1.0");
}
