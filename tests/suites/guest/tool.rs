//! The subcommands of the device plugin on real VFs, and its error without permission to write.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::{Pf, ip, netdev_of};

const BINARY: &str = "/opt/virtfn/sriov-device-plugin";
const NOBODY: u32 = 65534;

fn tell(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let flag = |name: &str, path: &str| format!("--{name}={}", dir.join(path).display());
    let output = Command::new(BINARY)
        .args([
            flag("config-file", "config.json"),
            flag("kubelet-dir", "kubelet"),
            flag("cni-dir", "cni"),
        ])
        .args(words)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn configured() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "resourceList": [
        { "resourceName": "some", "resourcePrefix": "x.y", "selectors": { "pfNames": ["pf0#0", "pf0#2"], "drivers": ["igbvf"] } },
        { "resourceName": "rest", "resourcePrefix": "x.y", "selectors": [{ "rootDevices": [std::env::var("VIRTFN_PF0").unwrap()] }] },
    ] });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

#[test]
fn inventory_matches_sysfs() {
    let (first, second) = (Pf::with_vfs(0, 3).unwrap(), Pf::with_vfs(1, 1).unwrap());
    let dir = configured();
    let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let held = first.vf(2).unwrap();
    kubelet.pods(|pods| pods.run("web", "x.y/some", &[&held]));
    let inventory = || {
        let (code, text) = tell(dir.path(), &["inventory", "--json"]);
        assert_eq!(code, Some(0));
        let document: Value = serde_json::from_str(&text).unwrap();
        document["devices"].as_array().unwrap().clone()
    };
    let devices = inventory();
    let device = |address: &str| {
        let mut devices = devices.iter();
        devices.find(|device| device["id"] == address).unwrap()
    };
    for (pf, count) in [(&first, 3), (&second, 1)] {
        let attribute = |name: &str| {
            let path = format!("/sys/bus/pci/devices/{}/{name}", pf.address);
            fs::read_to_string(path).unwrap().trim().to_owned()
        };
        let parent = device(&pf.address);
        assert_eq!(
            (&parent["role"]["kind"], &parent["driver"]),
            (&json!("pf"), &json!("igb"))
        );
        assert_eq!(
            parent["role"]["totalVfs"].to_string(),
            attribute("sriov_totalvfs")
        );
        assert_eq!(parent["numaNode"].to_string(), attribute("numa_node"));
        assert_eq!(
            parent["netdevs"],
            json!([{ "name": pf.netdev, "linkType": "ether", "up": true, "carrier": true }])
        );
        for index in 0..count {
            let vf = pf.vf(index).unwrap();
            let seen = device(&vf);
            assert_eq!(parent["role"]["vfs"][index.to_string()], json!(vf));
            assert_eq!(
                seen["role"],
                json!({ "kind": "vf", "pf": pf.address, "pfName": pf.netdev, "index": index })
            );
            assert_eq!(seen["netdevs"][0]["name"], json!(netdev_of(&vf).unwrap()));
            assert_eq!(seen["driver"], "igbvf");
        }
    }
    assert_eq!(device(&first.vf(0).unwrap())["pool"], "x.y/some");
    assert_eq!(device(&first.vf(1).unwrap())["pool"], "x.y/rest");
    assert_eq!(device(&second.vf(0).unwrap())["pool"], Value::Null);
    assert_eq!(device(&held)["holders"][0]["pod"], "web");
    first.set_vfs(1).unwrap();
    let vfs = inventory()
        .into_iter()
        .filter(|device| device["role"]["kind"] == "vf");
    assert_eq!(vfs.count(), 2);
}

#[test]
fn captured_node_replays_to_the_same_inventory() {
    let (first, _second) = (Pf::with_vfs(0, 3).unwrap(), Pf::with_vfs(1, 1).unwrap());
    let dir = configured();
    let file = dir.path().join("node.yaml");
    let devices = |words: &[&str]| {
        let (code, text) = tell(dir.path(), &[&["inventory", "--json"], words].concat());
        assert_eq!(code, Some(0));
        let document: Value = serde_json::from_str(&text).unwrap();
        document["devices"].clone()
    };
    let capture = |words: &[&str]| {
        let (code, text) = tell(dir.path(), &[&["capture"], words].concat());
        assert_eq!(code, Some(0));
        fs::write(&file, &text).unwrap();
        text
    };
    let replay = ["--machine", file.to_str().unwrap()];
    capture(&["--keep-names"]);
    assert_eq!(devices(&replay), devices(&[]));
    // The anonymous file has the same devices.
    let anonymous = capture(&[]);
    let mac = fs::read_to_string(format!("/sys/class/net/{}/address", first.netdev)).unwrap();
    assert!(!anonymous.contains(mac.trim()), "{anonymous}");
    assert!(anonymous.contains("sriov_totalvfs: 7"), "{anonymous}");
    let (replayed, live) = (devices(&replay), devices(&[]));
    let ids = |devices: &Value| -> Vec<Value> {
        let devices = devices.as_array().unwrap().iter();
        devices.map(|device| device["id"].clone()).collect()
    };
    assert_eq!(ids(&replayed), ids(&live));
}

#[test]
fn explain_names_the_failed_condition() {
    let (first, second) = (Pf::with_vfs(0, 3).unwrap(), Pf::with_vfs(1, 1).unwrap());
    let dir = configured();
    for (subject, words) in [
        (first.vf(0).unwrap(), "is in x.y/some"),
        (first.vf(1).unwrap(), "is in x.y/rest"),
        (
            second.vf(0).unwrap(),
            "x.y/some: pfNames requires pf0#0, pf0#2",
        ),
        (first.address.clone(), "is in no pool: it is a PF with VFs"),
        ("x.y/rest".to_owned(), "x.y/rest: 1 device"),
    ] {
        let (code, text) = tell(dir.path(), &["explain", &subject]);
        assert!(code == Some(0) && text.contains(words), "{subject}: {text}");
    }
    let file = dir.path().join("config.json");
    let (code, text) = tell(
        dir.path(),
        &["check-config", file.to_str().unwrap(), "--explain"],
    );
    assert!(
        code == Some(0) && text.contains("x.y/some: 2 devices"),
        "{text}"
    );
}

#[test]
fn binary_is_small_and_static() {
    let bytes = fs::metadata(BINARY).unwrap().len();
    assert!(bytes < 4_500_000, "{bytes} bytes");
    // This root directory contains no loader, no library and no list of PCI ids.
    let root = tempfile::tempdir().unwrap();
    fs::copy(BINARY, root.path().join("program")).unwrap();
    fs::write(
        root.path().join("config.json"),
        r#"{"resourceList": [{"resourceName": "vf", "selectors": {"drivers": ["igbvf"]}}]}"#,
    )
    .unwrap();
    let output = Command::new("/bin/busybox")
        .args([
            "chroot",
            root.path().to_str().unwrap(),
            "/program",
            "check-config",
            "/config.json",
        ])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn altnames_and_routes_outside_sysfs_count() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = "a-name-of-more-than-fifteen-bytes";
    let config = json!({ "resourceList": [{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "pfNames": [format!("{name}#0-1")] } }] });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let vfs = [0, 1].map(|index| pf.vf(index).unwrap());
    let netdevs = [0, 1].map(|index| netdev_of(&vfs[index]).unwrap());
    let check = |vf: &str, words: &str| {
        let (code, text) = tell(dir.path(), &["explain", vf]);
        assert!(code == Some(0) && text.contains(words), "{words}: {text}");
    };
    check(&vfs[0], "pfNames requires a-name-of");
    ip(&[
        "link", "property", "add", "dev", &pf.netdev, "altname", name,
    ])
    .unwrap();
    check(&vfs[0], "is in x.y/vf");

    let [first, second] = netdevs.each_ref().map(String::as_str);
    for netdev in [first, second] {
        ip(&["link", "set", netdev, "up"]).unwrap();
    }
    let hops = ["nexthop", "dev", first, "nexthop", "dev", second];
    for (family, route, carriers) in [
        ("-4", ["dev", first].as_slice(), [true, false]),
        ("-6", &["dev", first], [true, false]),
        ("-4", &hops, [true, true]),
    ] {
        let route = |verb| {
            let words = [&[family, "route", verb, "default", "table", "100"], route].concat();
            ip(&words).unwrap();
        };
        route("add");
        for (vf, carries) in vfs.iter().zip(carriers) {
            let words = if carries {
                "is in no pool: it carries a default route"
            } else {
                "is in x.y/vf"
            };
            check(vf, words);
        }
        route("del");
        check(&vfs[0], "is in x.y/vf");
    }
    for netdev in [first, second] {
        ip(&["link", "set", netdev, "down"]).unwrap();
    }
    ip(&[
        "link", "property", "del", "dev", &pf.netdev, "altname", name,
    ])
    .unwrap();
    check(&vfs[0], "pfNames requires a-name-of");
}

#[test]
fn unprivileged_user_gets_the_capability_and_can_read() {
    let _pf = Pf::with_vfs(0, 1).unwrap();
    let dir = configured();
    let _kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
    let run = |words: &[&str]| -> Output {
        // A directory that any user can enter and only root can write.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), mode).unwrap();
        let flag = |name: &str, path: &str| format!("--{name}={}", dir.path().join(path).display());
        Command::new(BINARY)
            .args([
                flag("config-file", "config.json"),
                flag("kubelet-dir", "kubelet"),
                flag("devinfo-dir", "devinfo"),
            ])
            .args(words)
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap()
    };
    let refused = run(&[]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(
        error.contains("user 65534") && error.contains("CAP_DAC_OVERRIDE"),
        "{error}"
    );
    let looked = run(&["inventory"]);
    let text = String::from_utf8(looked.stdout).unwrap();
    assert!(
        looked.status.success() && text.contains("x.y/some"),
        "{text}"
    );
}
