//! DEL on disks that take nothing: read-only, full, and without inodes.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sriov_testkit::cni::{STATE, assert_nothing_left, at_pf, attachment, in_pod, run, succeed};
use sriov_testkit::node::{Netns, Pf, ip, netdev_of};

fn mount(options: &str) {
    let done = Command::new("/bin/busybox")
        .args(["mount", "-t", "tmpfs", "-o", options, "state", STATE])
        .status()
        .unwrap();
    assert!(done.success());
}

fn unmount() {
    let done = Command::new("/bin/busybox")
        .args(["umount", STATE])
        .status()
        .unwrap();
    assert!(done.success());
}

/// Leaves no room: neither for a byte nor, with few inodes, for a file.
fn fill() {
    let _ = fs::write(format!("{STATE}/filler"), vec![0; 1 << 20]);
    for number in 0..64 {
        let _ = fs::write(format!("{STATE}/filler{number}"), "");
    }
}

#[test]
fn vf_leaves_its_pod_whatever_the_disk_does() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    let before = pf.baseline().unwrap();
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "trust": "on" });
    fs::create_dir_all(STATE).unwrap();
    for (number, (options, spoiled)) in [
        ("size=64k", None),
        ("size=1m,nr_inodes=40", None),
        ("size=1m", Some("remount,ro")),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = Netns::new(&format!("disk{number}")).unwrap();
        let attachment = attachment(&pod, &vf);
        mount(options);
        // Never attached, on an empty disk that is spoiled.
        fill();
        if let Some(options) = spoiled {
            mount(options);
        }
        succeed("DEL", &fields, &attachment);
        unmount();
        // Attached, then spoiled.
        mount(options);
        succeed("ADD", &fields, &attachment);
        fill();
        if let Some(options) = spoiled {
            mount(options);
        }
        let done = run("DEL", &fields, &attachment);
        let reported = if spoiled.is_some() { Some(1) } else { Some(0) };
        assert_eq!(
            done.code, reported,
            "{options}: {} {}",
            done.document, done.log
        );
        assert_eq!(pf.baseline().unwrap(), before, "{options}");
        unmount();
        // The state is lost, and the disk spoiled.
        mount(options);
        succeed("ADD", &fields, &attachment);
        unmount();
        mount(options);
        fill();
        if let Some(options) = spoiled {
            mount(options);
        }
        succeed("DEL", &fields, &attachment);
        assert_eq!(in_pod(&pod), Value::Null, "{options}");
        let now = at_pf(&pf, 0);
        assert_eq!(
            (&now["vlan_list"][0]["vlan"], &now["trust"]),
            (&Value::Null, &json!(false)),
            "{options}: {now}"
        );
        // Its earlier name was only in the journal.
        let here = netdev_of(&vf).unwrap();
        if here != name {
            ip(&["link", "set", &here, "name", &name]).unwrap();
        }
        unmount();
    }
    assert_nothing_left();
}
