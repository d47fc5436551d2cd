//! The protocol of the CNI specification 1.1.0 on real VFs: CHECK, STATUS, GC, versions, chains, errors, delegation.

use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, assert_nothing_left, at_pf, attachment, in_pod, refuse,
    refuse_verb, run_with, state, succeed,
};
use sriov_testkit::multus::Attachment;
use sriov_testkit::node::{Netns, Pf, ip, netdev_of};

fn fields() -> Value {
    json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:05:01", "spoofchk": "on", "trust": "on", "mtu": 1400,
        "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.10/24", "gateway": "192.0.2.1" }],
                  "routes": [{ "dst": "198.51.100.0/24" }] } })
}

/// The static IPAM plugin of the node supports versions up to 1.0.0.
fn with_ipam() -> Value {
    let mut fields = fields();
    fields["cniVersion"] = json!("1.0.0");
    fields
}

fn without_ipam() -> Value {
    let mut fields = fields();
    fields.as_object_mut().unwrap().remove("ipam");
    fields
}

fn with(fields: &Value, more: &Value) -> Value {
    let mut all = fields.clone();
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all
}

fn drifted(fields: &Value, attachment: &Attachment, words: &[&str]) {
    let error = refuse_verb("CHECK", fields, attachment);
    assert_eq!(error["code"], 104, "{error}");
    for words in words {
        assert!(error["msg"].as_str().unwrap().contains(words), "{error}");
    }
}

#[test]
fn check_accepts_the_result_and_names_differences() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("check").unwrap();
    let attachment = attachment(&pod, &vf);
    let result = succeed("ADD", &with_ipam(), &attachment);
    let fields = with(&with_ipam(), &json!({ "prevResult": result }));
    assert_eq!(succeed("CHECK", &fields, &attachment), Value::Null);

    let inside = |args: &[&str]| ip(&[&["-netns", "check"], args].concat()).unwrap();
    let outside =
        |args: &[&str]| ip(&[&["link", "set", &pf.netdev, "vf", "0"], args].concat()).unwrap();
    for (change, words, back) in [
        (["trust", "off"], "trust", ["trust", "on"]),
        (["spoofchk", "off"], "spoofchk", ["spoofchk", "on"]),
        (
            ["vlan", "7"],
            "wanted vlan 100 qos 0 proto 802.1q, found vlan 7",
            ["vlan", "100"],
        ),
    ] {
        outside(&change);
        drifted(&fields, &attachment, &[words]);
        outside(&back);
        succeed("CHECK", &fields, &attachment);
    }
    inside(&["link", "set", "net1", "mtu", "1300"]);
    inside(&["address", "add", "192.0.2.99/24", "dev", "net1"]);
    drifted(
        &fields,
        &attachment,
        &["mtu of `net1`: wanted 1400, found 1300"],
    );
    // A plugin of the chain that sets an MTU without a change of the result; it stores the earlier MTU in this file.
    let record =
        Path::new("/run/cni/tuning").join(format!("{}_net1.json", attachment.container_id));
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    std::fs::write(&record, r#"{ "mtu": 1400 }"#).unwrap();
    succeed("CHECK", &fields, &attachment);
    std::fs::remove_file(&record).unwrap();
    inside(&["link", "set", "net1", "mtu", "1400"]);
    inside(&["route", "del", "198.51.100.0/24"]);
    inside(&["address", "del", "192.0.2.10/24", "dev", "net1"]);
    drifted(
        &fields,
        &attachment,
        &[
            "address of `net1`: wanted 192.0.2.10/24",
            "route: wanted 198.51.100.0/24",
        ],
    );
    inside(&["link", "set", "net1", "down"]);
    inside(&["link", "set", "net1", "name", "other"]);
    drifted(&fields, &attachment, &["wanted `net1`, found `other`"]);
    succeed("DEL", &fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    drifted(&fields, &attachment, &["is not attached"]);
    assert_nothing_left();
}

#[test]
fn check_compares_with_the_result_of_the_chain() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("chain-check").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "trust": "on", "mac": "02:00:00:00:05:02" });
    let mut result = succeed("ADD", &fields, &attachment);
    // Like a tuning plugin: it changes the address, also in its result.
    ip(&[
        "-netns",
        "chain-check",
        "link",
        "set",
        "net1",
        "address",
        "02:00:00:00:05:03",
    ])
    .unwrap();
    result["interfaces"][0]["mac"] = json!("02:00:00:00:05:03");
    let check = with(&fields, &json!({ "prevResult": result }));
    let error = sriov_testkit::cni::run("CHECK", &check, &attachment);
    // On igb, the address of a trusted VF reaches the PF too; only the difference at the PF may be reported.
    if at_pf(&pf, 0)["address"] == "02:00:00:00:05:02" {
        assert_eq!(error.code, Some(0), "{}", error.document);
    } else {
        let msg = error.document["msg"].as_str().unwrap();
        assert!(!msg.contains("of `net1`"), "{msg}");
    }
    let error = refuse_verb("CHECK", &fields, &attachment);
    assert_eq!(error["code"], 7);
    assert!(
        error["msg"].as_str().unwrap().contains("prevResult"),
        "{error}"
    );
    succeed("DEL", &fields, &attachment);
}

#[test]
fn status_reports_whether_add_can_succeed() {
    let pod = Netns::new("status").unwrap();
    let attachment = attachment(&pod, "0000:00:00.0");
    let fields = json!({ "cniVersion": "1.1.0" });
    assert_eq!(succeed("STATUS", &fields, &attachment), Value::Null);
    assert_eq!(
        run_with(
            "STATUS",
            &fields,
            &attachment,
            &[
                ("CNI_CONTAINERID", ""),
                ("CNI_IFNAME", ""),
                ("CNI_NETNS", ""),
                ("CNI_ARGS", "")
            ]
        )
        .code,
        Some(0)
    );
    let error = refuse_verb(
        "STATUS",
        &json!({ "cniVersion": "1.1.0", "ipam": { "type": "no-such-plugin" } }),
        &attachment,
    );
    assert_eq!(error["code"], 50);
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .contains("no-such-plugin"),
        "{error}"
    );
    let error = refuse_verb("STATUS", &json!({ "cniVersion": "1.0.0" }), &attachment);
    assert_eq!(error["code"], 1);
}

#[test]
fn gc_releases_only_unlisted_attachments() {
    let pf = Pf::with_vfs(0, 4).unwrap();
    let before = pf.baseline().unwrap();
    let pods: Vec<Netns> = (0..4)
        .map(|index| Netns::new(&format!("gc-{index}")).unwrap())
        .collect();
    let of = |index: usize| attachment(&pods[index], &pf.vf(index).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 300 });
    let other = with(&fields, &json!({ "name": "other" }));
    for index in 0..3 {
        succeed("ADD", &fields, &of(index));
    }
    succeed("ADD", &other, &of(3));

    // Without a list nothing changes.
    succeed("GC", &fields, &of(0));
    let vlans = || {
        (0..4)
            .map(|index| {
                at_pf(&pf, index)["vlan_list"][0]["vlan"]
                    .as_u64()
                    .unwrap_or(0)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(vlans(), [300, 300, 300, 300]);
    // The pod of the first still exists, the pod of the second is gone; the third is listed, the fourth is in another network.
    pods[1].delete().unwrap();
    let listed = with(
        &fields,
        &json!({ "cni.dev/valid-attachments": [{ "containerID": "c-gc-2", "ifname": "net1" }] }),
    );
    assert_eq!(succeed("GC", &listed, &of(0)), Value::Null);
    assert_eq!(vlans(), [0, 0, 300, 300]);
    assert_eq!(in_pod(&pods[0]), Value::Null);
    assert_eq!(state().len(), 8, "{:?}", state());
    succeed("DEL", &fields, &of(2));
    succeed("DEL", &other, &of(3));
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn ipam_gets_every_verb_with_the_whole_input() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let recorder = Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }], "dns": { "nameservers": ["192.0.2.53"] } })).unwrap();
    let pod = Netns::new("recorded").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields =
        json!({ "cniVersion": "1.1.0", "ipam": { "type": "recorder", "own": 7 }, "x": [1] });
    let path = format!("{RECORDER_BIN}:{BIN}");
    let call =
        |verb: &str, fields: &Value| run_with(verb, fields, &attachment, &[("CNI_PATH", &path)]);
    let result = call("ADD", &fields);
    assert_eq!(result.code, Some(0), "{}", result.document);
    assert_eq!(result.document["dns"]["nameservers"][0], "192.0.2.53");
    assert_eq!(
        (&recorder.stdin()["ipam"]["own"], &recorder.stdin()["x"]),
        (&json!(7), &json!([1]))
    );
    let check = with(&fields, &json!({ "prevResult": result.document }));
    assert_eq!(call("CHECK", &check).code, Some(0));
    assert_eq!(call("STATUS", &fields).code, Some(0));
    assert_eq!(call("GC", &fields).code, Some(0));
    for verb in ["CHECK", "STATUS", "GC", "DEL"] {
        recorder
            .fail(
                verb,
                &json!({ "code": 52, "msg": format!("no {verb} today"), "details": "tired" }),
            )
            .unwrap();
        let refused = call(verb, &check);
        assert_eq!(
            (refused.code, &refused.document["code"]),
            (Some(1), &json!(52)),
            "{}",
            refused.document
        );
        assert!(
            refused.document["msg"]
                .as_str()
                .unwrap()
                .contains(&format!("no {verb} today"))
        );
    }
    // The VF is back on the host; only the addresses are owed, and the next DEL returns them.
    assert_eq!(pf.baseline().unwrap(), before);
    recorder.mend("DEL").unwrap();
    assert_eq!(call("DEL", &fields).code, Some(0));
    assert_nothing_left();
    assert_eq!(
        recorder.verbs(),
        [
            "ADD", "CHECK", "STATUS", "GC", "CHECK", "STATUS", "GC", "DEL", "DEL"
        ]
    );
    assert!(
        recorder.calls()[0]
            .starts_with("ADD c-recorded net1 /run/netns/recorded IgnoreUnknown=true;")
    );

    recorder
        .fail("ADD", &json!({ "code": 11, "msg": "no address left" }))
        .unwrap();
    let refused = call("ADD", &fields);
    assert_eq!(
        (&refused.document["code"], &refused.document["msg"]),
        (&json!(11), &json!("no address left"))
    );
    assert_eq!(recorder.verbs().last().unwrap(), "DEL");
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn result_has_the_version_of_the_call_and_keeps_the_chain() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("versions").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let fields = with(&fields(), &json!({ "cniVersion": version }));
        let result = succeed("ADD", &fields, &attachment);
        assert_eq!(result["cniVersion"], version);
        if version < "0.3.0" {
            assert_eq!(result["ip4"]["ip"], "192.0.2.10/24", "{result}");
        } else {
            assert_eq!(result["ips"][0]["address"], "192.0.2.10/24", "{result}");
            assert_eq!(
                result["ips"][0]["version"],
                if version < "1.0.0" {
                    json!("4")
                } else {
                    Value::Null
                }
            );
        }
        succeed("DEL", &fields, &attachment);
    }
    let error = refuse(&json!({ "cniVersion": "0.2.0" }), &attachment);
    assert_eq!(error["code"], 7, "{error}");
    let error = refuse(&json!({ "cniVersion": "1.2.0" }), &attachment);
    assert_eq!(error["code"], 1, "{error}");
    let previous = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:aa", "sandbox": "/x", "socketPath": "/s" }],
        "ips": [{ "address": "10.0.0.7/8", "interface": 0 }], "routes": [{ "dst": "0.0.0.0/0", "priority": 5 }], "dns": { "domain": "d" } });
    let fields = with(&without_ipam(), &json!({ "prevResult": previous }));
    let result = succeed("ADD", &fields, &attachment);
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(
        (&result["ips"], &result["routes"], &result["dns"]["domain"]),
        (&previous["ips"], &previous["routes"], &json!("d"))
    );
    assert_eq!(result["interfaces"][1]["name"], "net1");
    succeed("DEL", &fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn all_mistakes_are_reported_before_any_change() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("mistakes").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let error = refuse(
        &json!({ "vlan": 4095, "vlanQoS": 9, "mac": "zz", "spoofchk": "true", "link_state": "up", "max_tx_rate": -1, "mtu": 1 }),
        &attachment,
    );
    assert_eq!(error["code"], 7);
    for words in [
        "vlan: `4095`",
        "vlanQoS: `9`",
        "mac: `zz`",
        "spoofchk: `true`",
        "link_state: `up`",
        "max_tx_rate: `-1`",
        "mtu: `1`",
    ] {
        assert!(
            error["msg"].as_str().unwrap().contains(words),
            "{words}: {error}"
        );
    }
    let answer = run_with(
        "ADD",
        &json!({}),
        &attachment,
        &[("CNI_CONTAINERID", ""), ("CNI_NETNS", "")],
    );
    assert_eq!(answer.document["code"], 4);
    assert_eq!(
        answer.document["msg"],
        "required env variables [CNI_CONTAINERID,CNI_NETNS] missing"
    );
    for (name, value) in [
        ("CNI_CONTAINERID", "../../x"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_COMMAND", "PAUSE"),
    ] {
        let answer = run_with("ADD", &json!({}), &attachment, &[(name, value)]);
        assert_eq!(
            (answer.code, &answer.document["code"]),
            (Some(1), &json!(4)),
            "{}",
            answer.document
        );
        assert!(
            answer.document["msg"].as_str().unwrap().contains(name),
            "{}",
            answer.document
        );
    }
    let guid = json!({ "runtimeConfig": { "infinibandGUID": "02:00:00:00:00:00:00:07" } });
    let error = refuse(&guid, &attachment);
    assert_eq!(error["code"], 7);
    assert!(
        error["msg"].as_str().unwrap().contains("infinibandGUID"),
        "{error}"
    );
    let name = netdev_of(&pf.vf(0).unwrap()).unwrap();
    assert!(!name.is_empty());
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn logs_go_to_the_configured_file_only() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("logs").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let log = "/tmp/sriov-test.log";
    let fields =
        json!({ "cniVersion": "1.1.0", "logLevel": "debug", "logFile": log, "trust": "on" });
    let answer = sriov_testkit::cni::run("ADD", &fields, &attachment);
    assert_eq!((answer.code, answer.log.as_str()), (Some(0), ""));
    let lines = std::fs::read_to_string(log).unwrap();
    assert!(
        lines.contains("set trust on at the PF") && lines.contains("c-logs"),
        "{lines}"
    );
    std::fs::remove_file(log).unwrap();
    let quiet = with(&fields, &json!({ "logLevel": "panic" }));
    succeed("DEL", &quiet, &attachment);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "");
    std::fs::remove_file(log).unwrap();
}
