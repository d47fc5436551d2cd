//! The subcommands of the device plugin on a constructed machine: their output and their exit codes.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::plugin;
use sriov_testkit::tree::Tree;

const PF: &str = "0000:01:00.0";
const UPLINK: &str = "0000:02:00.0";
const CONFIG: &str = r#"{"resourceList": [
  {"resourceName": "first", "selectors": [{"drivers": ["vfio-pci"]}, {"pfNames": ["pf0#0-1"], "vendors": ["8086"]}]},
  {"resourceName": "second", "resourcePrefix": "x.y", "selectors": {"pfNames": ["pf0#1-2"]}},
  {"resourceName": "wrong", "selectors": {"vendors": "8086"}},
  {"resourceName": "accelerator", "deviceType": "accelerator", "selectors": {"vendors": ["8086"]}}
]}"#;

/// A machine with one PF with four VFs, and the NIC of its default route.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        tree.pf(PF, "igb", 7).unwrap();
        netdev(&tree, PF, "pf0");
        for (index, driver) in ["igbvf", "vfio-pci", "igbvf", "igbvf"]
            .into_iter()
            .enumerate()
        {
            tree.vf(PF, &vf(index), driver).unwrap();
        }
        netdev(&tree, &vf(0), "eth1");
        fs::remove_file(tree.device(&vf(3)).join("driver")).unwrap();
        tree.function(UPLINK, "e1000").unwrap();
        netdev(&tree, UPLINK, "eth0");
        tree.file(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\n",
        )
        .unwrap();
        fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        Self { dir }
    }

    /// Exit code, standard output, standard error; `DIR` replaces the machine's directory.
    fn tell(&self, words: &[&str], stdin: &str) -> (i32, String, String) {
        let dir = self.dir.path().display().to_string();
        let mut command = Command::new(plugin::binary().unwrap());
        for (flag, path) in [
            ("config-file", "config.json"),
            ("kubelet-dir", "kubelet"),
            ("cni-dir", "cni"),
            ("host-root", ""),
        ] {
            command.arg(format!("--{flag}={dir}/{path}"));
        }
        let mut child = command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&dir, "DIR");
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn check(&self, words: &[&str], code: i32, expected: &Expect) {
        let (is, out, _) = self.tell(words, "");
        expected.assert_eq(&out);
        assert_eq!(is, code);
    }
}

fn vf(index: usize) -> String {
    format!("0000:01:10.{index}")
}

fn netdev(tree: &Tree, address: &str, name: &str) {
    for (attribute, text) in [
        ("ifindex", "3"),
        ("type", "1"),
        ("flags", "0x1003"),
        ("carrier", if name == "eth1" { "0" } else { "1" }),
    ] {
        tree.file(&format!("{address}/net/{name}/{attribute}"), text)
            .unwrap();
    }
}

#[test]
fn closed_output_is_not_a_failure() {
    let machine = Machine::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(plugin::binary().unwrap())
        .arg(format!("--host-root={}", machine.dir.path().display()))
        .args(["inventory", "--json"])
        .stdout(writer)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn check_config_reports_all_mistakes_and_exits_with_1() {
    let machine = Machine::new();
    let file = machine.dir.path().join("config.json").display().to_string();
    machine.check(&["check-config", &file], 1, &expect![[r#"
        DIR/config.json: mistake: resourceList[2].selectors.vendors at line 4 column 54: `"8086"` is not a list of strings
        DIR/config.json: 3 usable resources, 1 mistake, 0 warnings
    "#]]);
    machine.check(&["check-config", &file, "--explain"], 1, &expect![[r#"
        DIR/config.json: mistake: resourceList[2].selectors.vendors at line 4 column 54: `"8086"` is not a list of strings
        DIR/config.json: 3 usable resources, 1 mistake, 0 warnings

        intel.com/first: 2 devices
          0000:01:10.0: NetworkController 8086:10ca, VF 0 of 0000:01:00.0 (pf0), driver igbvf, NUMA node 1, ether eth1 (without carrier)
          0000:01:10.1: NetworkController 8086:10ca, VF 1 of 0000:01:00.0 (pf0), driver vfio-pci, NUMA node 1
        x.y/second: 1 device
          0000:01:10.2: NetworkController 8086:10ca, VF 2 of 0000:01:00.0 (pf0), driver igbvf, NUMA node 1
        intel.com/accelerator: 0 devices
    "#]]);
    for (text, code, words) in [
        ("{", 1, "document at line 1 column 1: not JSON"),
        (
            r#"{"resourceList": [{"resourceName": "a", "selectors": {}}]}"#,
            0,
            "1 usable resource, 0 mistakes, 1 warning",
        ),
        (
            r#"{"resourceList": []}"#,
            0,
            "0 usable resources, 0 mistakes, 1 warning",
        ),
    ] {
        let (is, out, err) = machine.tell(&["check-config", "-"], text);
        assert!(
            is == code && out.contains(words),
            "{text}: {is} {out} {err}"
        );
    }
    let (code, out, err) = machine.tell(&["check-config", "/nowhere/config.json"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "sriov-device-plugin: cannot read the configuration `/nowhere/config.json`: No such file or directory (os error 2)\n"
    );
}

#[test]
fn inventory_is_a_table_with_pools_holders_and_health() {
    let machine = Machine::new();
    let kubelet = Kubelet::start(&machine.dir.path().join("kubelet"), false).unwrap();
    kubelet.pods(|pods| pods.run("web", "intel.com/first", &[&vf(0)]));
    let tree = Tree::new(machine.dir.path());
    let attachment = tree.attachment(PF, &vf(2), "dirty").unwrap();
    fs::create_dir(machine.dir.path().join("cni")).unwrap();
    fs::write(
        machine.dir.path().join(format!("cni/{}.json", vf(2))),
        attachment.to_string(),
    )
    .unwrap();
    machine.check(&["inventory"], 0, &expect![[r"
        DEVICE        ROLE         ID         DRIVER    NUMA  NETDEV  POOL             HEALTH     HOLDER           NOTE
        0000:01:00.0  PF 4/7       8086:10ca  igb       1     pf0     -                -          -                it is a PF with VFs
        0000:01:10.0  VF 0 of pf0  8086:10ca  igbvf     1     eth1    intel.com/first  healthy    default/web/app  not attached to its holder: no Multus on the node, or the pod names no network of intel.com/first
        0000:01:10.1  VF 1 of pf0  8086:10ca  vfio-pci  1     -       intel.com/first  healthy    -
        0000:01:10.2  VF 2 of pf0  8086:10ca  igbvf     1     -       x.y/second       unhealthy  -                the CNI plugin holds it back: its former state could not be restored
        0000:01:10.3  VF 3 of pf0  8086:10ca  -         1     -       -                -          -                no driver is bound to it
        0000:02:00.0  -            8086:10ca  e1000     1     eth0    -                -          -                it carries a default route
    "]]);

    let (code, out, _) = machine.tell(&["inventory", "--json"], "");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &document["version"], &document["holdersKnown"]),
        (0, &json!(1), &json!(true))
    );
    let devices = document["devices"].as_array().unwrap();
    let device = |address: &str| {
        devices
            .iter()
            .find(|device| device["id"] == address)
            .unwrap()
    };
    assert_eq!(devices.len(), 6);
    assert_eq!(device(PF)["role"]["vfs"]["3"], json!(vf(3)));
    assert_eq!(
        *device(&vf(0)),
        json!({
            "id": vf(0), "vendor": "8086", "device": "10ca", "class": "020000", "driver": "igbvf", "numaNode": 1,
            "netdevs": [{ "name": "eth1", "linkType": "ether", "up": true, "carrier": false }],
            "rdma": [], "vdpa": [], "acpiIndex": null, "pKey": null, "role": { "kind": "vf", "pf": PF, "pfName": "pf0", "index": 0 },
            "pool": "intel.com/first", "health": "healthy", "unhealthy": null, "leftOut": null, "findings": [],
            "holders": [{ "namespace": "default", "pod": "web", "container": "app", "resource": "intel.com/first" }],
        })
    );
    assert_eq!(device(&vf(2))["health"], "unhealthy");
    assert_eq!(
        device(&vf(2))["unhealthy"],
        "the CNI plugin holds it back: its former state could not be restored"
    );
    assert_eq!(device(UPLINK)["leftOut"], "it carries a default route");
}

#[test]
fn inventory_works_without_kubelet_and_configuration() {
    let machine = Machine::new();
    fs::remove_file(machine.dir.path().join("config.json")).unwrap();
    let (code, out, err) = machine.tell(&["inventory", "--json"], "");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["holdersKnown"]), (0, &json!(false)));
    assert_eq!(document["devices"].as_array().unwrap().len(), 6);
    assert!(
        err.contains("pools are not known") && err.contains("holders are not known"),
        "{err}"
    );
    fs::remove_dir_all(machine.dir.path().join("sys")).unwrap();
    let (code, out, err) = machine.tell(&["inventory"], "");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("is sysfs mounted?"), "{err}");
}

#[test]
fn explain_gives_the_reason_for_a_device() {
    let machine = Machine::new();
    for (subject, code, expected) in [
        (
            vf(0).as_str(),
            0,
            expect![[r"
                0000:01:10.0 is in intel.com/first
                  NetworkController 8086:10ca, VF 0 of 0000:01:00.0 (pf0), driver igbvf, NUMA node 1, ether eth1 (without carrier)
                  intel.com/first: its selectors match
                  x.y/second: pfNames requires pf0#1-2
                  intel.com/accelerator: it is for accelerator
            "]],
        ),
        (
            vf(1).as_str(),
            0,
            expect![[r"
            0000:01:10.1 is in intel.com/first
              NetworkController 8086:10ca, VF 1 of 0000:01:00.0 (pf0), driver vfio-pci, NUMA node 1
              intel.com/first: its selectors match
              x.y/second: its selectors match, but intel.com/first comes first
              intel.com/accelerator: it is for accelerator
        "]],
        ),
        (
            vf(3).as_str(),
            0,
            expect![[r"
            0000:01:10.3 is in no pool: no driver is bound to it
              NetworkController 8086:10ca, VF 3 of 0000:01:00.0 (pf0), no driver, NUMA node 1
              intel.com/first: selectors[0]: drivers requires vfio-pci
              x.y/second: pfNames requires pf0#1-2
              intel.com/accelerator: it is for accelerator
        "]],
        ),
        (
            PF,
            0,
            expect![[r"
            0000:01:00.0 is in no pool: it is a PF with VFs
              NetworkController 8086:10ca, PF with 4 of 7 VFs, driver igb, NUMA node 1, ether pf0
              intel.com/first: selectors[0]: drivers requires vfio-pci
              x.y/second: pfNames requires pf0#1-2
              intel.com/accelerator: it is for accelerator
        "]],
        ),
        (
            UPLINK,
            0,
            expect![[r"
            0000:02:00.0 is in no pool: it carries a default route
              NetworkController 8086:10ca, driver e1000, NUMA node 1, ether eth0 with the default route
              intel.com/first: selectors[0]: drivers requires vfio-pci
              x.y/second: pfNames requires pf0#1-2
              intel.com/accelerator: it is for accelerator
        "]],
        ),
        (
            "0000:09:00.0",
            1,
            expect![[r"
            0000:09:00.0: this machine has no such device
        "]],
        ),
    ] {
        machine.check(&["explain", subject], code, &expected);
    }
}

#[test]
fn explain_lists_devices_of_a_resource_and_others() {
    let machine = Machine::new();
    for (subject, code, expected) in [
        (
            "x.y/second",
            0,
            expect![[r"
            x.y/second: 1 device
              0000:01:10.2: NetworkController 8086:10ca, VF 2 of 0000:01:00.0 (pf0), driver igbvf, NUMA node 1
              not 0000:01:00.0: it is a PF with VFs
              not 0000:01:10.0: pfNames requires pf0#1-2
              not 0000:01:10.1: intel.com/first comes first and gets it
              not 0000:01:10.3: no driver is bound to it
              not 0000:02:00.0: it carries a default route
        "]],
        ),
        (
            "accelerator",
            0,
            expect![[r"
            intel.com/accelerator: 0 devices
        "]],
        ),
        (
            "intel.com/wrong",
            1,
            expect![[r#"
            intel.com/wrong: not served: resourceList[2].selectors.vendors at line 4 column 54: `"8086"` is not a list of strings
        "#]],
        ),
        (
            "nonsense",
            1,
            expect![[r"
            `nonsense` is neither a device like 0000:01:10.0 or mlx5_core.sf.4 nor a resource of the configuration
        "]],
        ),
    ] {
        machine.check(&["explain", subject], code, &expected);
    }
}

#[test]
fn wrong_command_line_exits_with_2() {
    let machine = Machine::new();
    for words in [
        ["explain"].as_slice(),
        &["check-config"],
        &["inventory", "more"],
        &["explain", "a", "b"],
        &["--json"],
        &["nonsense"],
        &["inventory", "--explain"],
    ] {
        let (code, out, err) = machine.tell(words, "");
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(
            err.starts_with("sriov-device-plugin: ") && err.lines().count() == 1,
            "{err}"
        );
    }
    let (code, out, _) = machine.tell(&["--version"], "");
    assert_eq!(
        (code, out.trim()),
        (
            0,
            concat!("sriov-device-plugin ", env!("CARGO_PKG_VERSION"))
        )
    );
    let (code, out, _) = machine.tell(&["-h"], "");
    assert!(
        code == 0 && out.contains("check-config") && out.contains("Exit codes"),
        "{out}"
    );
}
