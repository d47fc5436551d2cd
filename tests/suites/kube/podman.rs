//! podman, which has no daemon and calls CNI plugins itself, attaches a VF to a container by a network list, and releases it.

use std::fs;
use std::process::Command;

use serde_json::json;
use sriov_testkit::cni::{assert_nothing_left, at_pf};
use sriov_testkit::node::{Pf, wait_for};

const NETWORKS: &str = "/etc/podman/net.d";

/// Runs podman, and returns its output or its error.
fn podman(words: &[&str]) -> Result<String, String> {
    let output = Command::new("/usr/bin/podman")
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/bin")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

#[test]
fn container_gets_a_vf_and_returns_it() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let ipam = json!({ "type": "host-local", "ranges": [[{ "subnet": "192.0.2.0/24" }]] });
    let list = json!({ "cniVersion": "0.4.0", "name": "wire", "plugins": [
        { "type": "sriov", "deviceID": pf.vf(1).unwrap(), "vlan": 42, "trust": "on", "ipam": ipam },
    ] });
    for dir in [NETWORKS, "/var/tmp"] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(format!("{NETWORKS}/50-wire.conflist"), list.to_string()).unwrap();
    podman(&["load", "--input", "/lab/images/pod.tar"]).unwrap();

    let run = [
        "run",
        "--detach",
        "--name",
        "one",
        "--network",
        "wire",
        "localhost/pod:1",
    ];
    podman(&run).unwrap();
    let vf = at_pf(&pf, 1);
    assert_eq!(vf["vlan_list"][0]["vlan"], 42, "{vf}");
    assert_eq!(vf["trust"], true, "{vf}");
    let shown = podman(&["exec", "one", "/bin/busybox", "ip", "address"]).unwrap();
    assert!(shown.contains("192.0.2."), "{shown}");

    // The VF is in use: the second container is refused, with the name of the holder.
    let again = [
        "run",
        "--detach",
        "--name",
        "two",
        "--network",
        "wire",
        "localhost/pod:1",
    ];
    let refused = podman(&again).unwrap_err();
    assert!(refused.contains("is attached to container"), "{refused}");
    podman(&["rm", "--force", "two"]).unwrap();
    assert_eq!(at_pf(&pf, 1)["vlan_list"][0]["vlan"], 42);

    podman(&["rm", "--force", "--time", "0", "one"]).unwrap();
    wait_for("the VFs have their earlier state", || {
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
    assert_nothing_left();
    fs::remove_file(format!("{NETWORKS}/50-wire.conflist")).unwrap();
    podman(&["rmi", "localhost/pod:1"]).unwrap();
}
