//! Limits of an attachment: system calls, netlink requests, processes, bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sriov_testkit::cni::{BIN, assert_nothing_left, attachment, config, succeed};
use sriov_testkit::multus::Attachment;
use sriov_testkit::node::{Netns, Pf};
use sriov_testkit::strace::Trace;

/// Limits of a verb without IPAM.
struct Budget {
    verb: &'static str,
    /// Four more than a quiet machine needs: threads that wait for each other take one or two futexes.
    calls: usize,
    requests: usize,
    fsyncs: usize,
    /// Bytes that describe the VFs of a PF with seven VFs.
    vf_lists: usize,
}

/// The Go plugin makes about 1,300 calls and 19 requests for an ADD, 900 and 15 for a DEL.
const BUDGETS: [Budget; 3] = [
    // Seven settings and moves; one look for the name in the pod; reads of VF and network device before and after; up. One file must survive a power loss.
    // Six calls read the settings of ethtool that DEL compares with, six the port of the PF.
    Budget {
        verb: "ADD",
        calls: 210,
        requests: 13,
        fsyncs: 2,
        vf_lists: 2800,
    },
    Budget {
        verb: "CHECK",
        calls: 120,
        requests: 2,
        fsyncs: 0,
        vf_lists: 1400,
    },
    // The boot id shows that an attachment was lost in a reboot.
    // Eight calls of ethtool and five of BPF prove that the VF is clean; they replace netlink requests.
    Budget {
        verb: "DEL",
        calls: 195,
        requests: 10,
        fsyncs: 0,
        vf_lists: 2800,
    },
];
/// System calls of a static Rust program that does nothing (`guest-empty` of the bench).
const EMPTY: usize = 35;
/// Limit of the size of the binary that ships, in bytes.
const BYTES: u64 = 3 << 20;

fn traced(verb: &str, fields: &Value, attachment: &Attachment) -> Trace {
    let config = config(&attachment.device_id, fields).to_string();
    let (trace, done) = Trace::of_cni(Path::new(BIN), verb, &config, attachment).unwrap();
    assert_eq!(done.code, Some(0), "{verb}: {} {}", done.document, done.log);
    trace
}

#[test]
fn attachment_stays_within_its_budget() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("budget").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let mut fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:07:01", "spoofchk": "on", "trust": "on" });
    // The first calls create the state directory, and the file of the BPF program.
    succeed("ADD", &fields, &attachment);
    succeed("DEL", &fields, &attachment);
    let mut over = Vec::new();
    for budget in BUDGETS {
        let verb = budget.verb;
        let trace = traced(verb, &fields, &attachment);
        let counts = [
            ("system calls", trace.calls(), budget.calls),
            ("netlink requests", trace.requests(), budget.requests),
            ("fsyncs", trace.synchronisations(), budget.fsyncs),
            ("bytes of VF lists", trace.vf_lists(), budget.vf_lists),
            // Only IPAM is a separate process; the threads enter the pod.
            ("programs", trace.with(" execve("), 1),
            ("forks", trace.with("fork("), 0),
            // The first DEL keeps it in a file.
            ("programs loaded by BPF", trace.with("BPF_PROG_LOAD"), 0),
        ];
        for (what, count, most) in counts {
            println!("{verb}: {count} {what}");
            if count > most {
                println!("{}", trace.text());
                over.push(format!("{verb}: {count} {what}, {most} are the most"));
            }
        }
        fields["prevResult"] = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "net1", "sandbox": "/run/netns/budget" }] });
    }
    assert_eq!(over, Vec::<String>::new());
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn only_ipam_is_a_process_and_vf_lists_are_read_twice() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let pod = Netns::new("list").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "vlan": 100, "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.10/24" }] } });
    let add = traced("ADD", &fields, &attachment);
    assert_eq!(add.with(" execve("), 2);
    // Nothing waits for the carrier: two requests are for the address, eight for the VF and its network device.
    assert_eq!(add.requests(), 10, "{}", add.text());
    // IFLA_EXT_MASK (29) with RTEXT_FILTER_VF and RTEXT_FILTER_SKIP_STATS requests the list.
    let lists = |trace: &Trace| trace.with(r"\x08\x00\x1d\x00\x09\x00\x00\x00");
    let del = traced("DEL", &fields, &attachment);
    for (verb, trace) in [("ADD", &add), ("DEL", &del)] {
        assert_eq!(lists(trace), 2, "{verb}");
        assert!(
            trace.vf_lists() > 0,
            "{verb}: the answers were not recognised"
        );
    }
    // No request goes to the PF, and no VF is read.
    let bare = traced("ADD", &json!({}), &attachment);
    assert_eq!((lists(&bare), bare.vf_lists()), (0, 0));
    succeed("DEL", &json!({}), &attachment);
    assert_nothing_left();
}

#[test]
fn version_costs_little_more_than_a_process() {
    let pod = Netns::new("version").unwrap();
    let calls = traced("VERSION", &json!({}), &attachment(&pod, "0000:00:00.0")).calls();
    println!("VERSION: {calls} system calls");
    assert!(calls <= EMPTY * 4 / 3, "{calls}");
}

#[test]
fn binary_is_small_and_static() {
    let binary = format!("{BIN}/sriov");
    let bytes = fs::metadata(&binary).unwrap().len();
    println!("binary: {bytes} bytes");
    assert!(bytes <= BYTES, "{bytes} bytes");
    // This root directory contains no loader and no library.
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
