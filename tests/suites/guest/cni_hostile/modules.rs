//! For some requests about a network device that does not exist, the kernel loads the module of that name (`dev_load`, `net/core/dev_ioctl.c`).
//!
//! A pod chooses the names of its interfaces, so no call may send such a request.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use nix::net::if_::if_nametoindex;
use serde_json::json;
use sriov_testkit::cni::{assert_nothing_left, attachment, succeed};
use sriov_testkit::node::{Netns, Pf, ip};

/// The program that the kernel runs to load a module.
const SETTING: &str = "/proc/sys/kernel/modprobe";
const PROGRAM: &str = "/tmp/modprobe-of-the-test";
const LOADED: &str = "/tmp/modprobe-of-the-test.calls";

/// Stands in for modprobe, and writes down its arguments.
struct Loader(String);

impl Loader {
    fn new() -> Self {
        let text = format!("#!/bin/busybox sh\necho \"$*\" >> {LOADED}\n");
        fs::write(PROGRAM, text).unwrap();
        fs::set_permissions(PROGRAM, Permissions::from_mode(0o755)).unwrap();
        let usual = fs::read_to_string(SETTING).unwrap();
        fs::write(SETTING, PROGRAM).unwrap();
        Self(usual)
    }

    /// The calls of the kernel during some work; the kernel waits for each.
    fn calls(work: impl FnOnce()) -> String {
        let _ = fs::remove_file(LOADED);
        work();
        fs::read_to_string(LOADED).unwrap_or_default()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        fs::write(SETTING, self.0.trim()).unwrap();
        for file in [PROGRAM, LOADED] {
            let _ = fs::remove_file(file);
        }
    }
}

#[test]
fn names_that_a_pod_chooses_load_no_module() {
    let _loader = Loader::new();
    let seen = Loader::calls(|| if_nametoindex("tipc").map(|_| ()).unwrap_or_default());
    assert!(
        seen.contains("tipc"),
        "the kernel loads no module: {seen:?}"
    );

    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("loads").unwrap();
    let mut attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.0.0", "vlan": 100, "mtu": 1400,
        "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.10/24" }, { "address": "2001:db8::7/64" }] } });
    for (ifname, renamed) in [("sctp", "sctp"), ("tipc", "rds")] {
        attachment.ifname = ifname.to_owned();
        let of_call = |verb: &str| {
            let calls = Loader::calls(|| drop(succeed(verb, &fields, &attachment)));
            assert_eq!(calls, "", "{verb} of `{ifname}`");
        };
        of_call("ADD");
        ip(&["-n", "loads", "link", "set", "dev", ifname, "down"]).unwrap();
        ip(&["-n", "loads", "link", "set", "dev", ifname, "name", renamed]).unwrap();
        of_call("DEL");
    }
    assert_nothing_left();
}
