//! DEL on real VFs after changes since ADD: renamed devices, lost or torn state, reboots, new VFs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, STATE, assert_nothing_left, at_pf, attachment, in_pod, refuse,
    refuse_verb, run, run_with, state, succeed,
};
use sriov_testkit::node::{Netns, Pf, ip, ip_json, netdev_of, wait_for};

fn fields() -> Value {
    json!({ "cniVersion": "1.1.0", "vlan": 100, "vlanQoS": 2, "mac": "02:00:00:00:06:01", "spoofchk": "off", "trust": "on", "mtu": 1400 })
}

fn journal(vf: &str) -> String {
    format!("{STATE}/{vf}.json")
}

fn edit(vf: &str, change: impl FnOnce(&mut Value)) {
    let mut saved: Value = serde_json::from_str(&fs::read_to_string(journal(vf)).unwrap()).unwrap();
    change(&mut saved);
    fs::write(journal(vf), saved.to_string()).unwrap();
}

#[test]
fn link_changed_by_the_pod_is_restored() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    ip(&["link", "property", "add", "dev", &name, "altname", "feed-a"]).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("renamed").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("ADD", &fields(), &attachment);
    for args in [
        vec!["link", "set", "net1", "down"],
        vec!["link", "set", "net1", "mtu", "1000"],
        vec!["link", "set", "net1", "name", "mine"],
        vec![
            "link", "property", "del", "dev", "mine", "altname", "feed-a",
        ],
        vec![
            "link", "property", "add", "dev", "mine", "altname", "theirs",
        ],
        vec!["link", "add", "net1", "type", "dummy"],
    ] {
        ip(&[vec!["-netns", "renamed"], args].concat()).unwrap();
    }
    succeed("DEL", &fields(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    // The pod's own `net1` stays.
    assert_eq!(in_pod(&pod)["ifname"], "net1");
    assert_nothing_left();
    succeed("DEL", &fields(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn pod_device_with_the_same_index_does_not_matter() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let index =
        ip_json(None, &["link", "show", "dev", &netdev_of(&vf).unwrap()]).unwrap()[0]["ifindex"]
            .to_string();
    let pod = Netns::new("same-index").unwrap();
    ip(&[
        "-netns",
        "same-index",
        "link",
        "add",
        "theirs",
        "index",
        &index,
        "type",
        "dummy",
    ])
    .unwrap();
    let attachment = attachment(&pod, &vf);
    let result = succeed("ADD", &fields(), &attachment);
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:06:01");
    let link = in_pod(&pod);
    assert_eq!(
        (&link["parentdev"], &link["mtu"]),
        (&json!(vf), &json!(1400))
    );
    assert_ne!(link["ifindex"].to_string(), index);
    succeed("DEL", &fields(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn taken_name_is_restored_later() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let name = netdev_of(&vf).unwrap();
    let pod = Netns::new("taken-name").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("ADD", &fields(), &attachment);
    ip(&["link", "add", &name, "type", "dummy"]).unwrap();
    succeed("DEL", &fields(), &attachment);
    assert_nothing_left();
    // The VF has left the pod, its claim refers to it, and its settings are restored.
    let spare = netdev_of(&vf).unwrap();
    assert_ne!(spare, name);
    let link = ip_json(None, &["link", "show", "dev", &spare]).unwrap();
    assert!(
        link[0]["altnames"]
            .as_array()
            .unwrap()
            .contains(&json!(format!("was.{name}"))),
        "{link}"
    );
    assert_eq!(
        at_pf(&pf, 0)["vlan_list"][0]["vlan"].as_u64().unwrap_or(0),
        0
    );
    // The name is still taken: the claim stays.
    succeed("ADD", &fields(), &attachment);
    succeed("DEL", &fields(), &attachment);
    assert_eq!(netdev_of(&vf).unwrap(), spare);
    ip(&["link", "del", &name]).unwrap();
    succeed("ADD", &fields(), &attachment);
    succeed("DEL", &fields(), &attachment);
    assert_eq!(netdev_of(&vf).unwrap(), name);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn del_without_a_namespace_uses_the_journal() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("no-netns").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    succeed("ADD", &fields(), &attachment);
    // The journal has the namespace that the call omits.
    let answer = run_with(
        "DEL",
        &fields(),
        &attachment,
        &[("CNI_NETNS", ""), ("CNI_PATH", "")],
    );
    assert_eq!(answer.code, Some(0), "{}", answer.document);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn del_with_an_empty_or_wrong_configuration_works() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("no-config").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    for other in [
        json!({ "deviceID": "" }),
        json!({ "vlan": 5000, "mac": "x", "deviceID": 7 }),
    ] {
        succeed("ADD", &fields(), &attachment);
        succeed("DEL", &other, &attachment);
        assert_eq!(pf.baseline().unwrap(), before);
        assert_nothing_left();
    }
}

#[test]
fn lost_journal_is_replaced_by_the_pods_devices() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    let mut fields = fields();
    // The earlier address is stored only in the journal; it is not compared here.
    fields.as_object_mut().unwrap().remove("mac");
    for torn in [false, true] {
        let pod = Netns::new("lost-journal").unwrap();
        let attachment = attachment(&pod, &vf);
        let result = succeed("ADD", &fields, &attachment);
        for file in state() {
            let _ = fs::remove_file(Path::new(STATE).join(&file));
            let _ = fs::remove_file(Path::new(STATE).join("pci").join(&file));
        }
        if torn {
            fs::write(journal(&vf), "{\"version\":1,").unwrap();
        }
        let with_result = {
            let mut all = fields.clone();
            all["prevResult"] = result;
            all["deviceID"] = json!("");
            all
        };
        succeed(
            "DEL",
            if torn { &fields } else { &with_result },
            &attachment,
        );
        assert_eq!(in_pod(&pod), Value::Null);
        let at_pf = at_pf(&pf, 0);
        assert_eq!(
            (
                &at_pf["vlan_list"][0]["vlan"],
                &at_pf["spoofchk"],
                &at_pf["trust"]
            ),
            (&Value::Null, &json!(true), &json!(false)),
            "{at_pf}"
        );
        assert_nothing_left();
        let here = netdev_of(&vf).unwrap();
        if here != name {
            ip(&["link", "set", &here, "name", &name]).unwrap();
        }
    }
}

#[test]
fn torn_journal_without_its_pod_is_released() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("torn-dead").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("ADD", &json!({ "vlan": 100 }), &attachment);
    fs::write(journal(&vf), "{").unwrap();
    fs::remove_file(format!("{STATE}/.{vf}.json.new")).unwrap();
    fs::remove_file(format!("{STATE}/c-torn-dead-net1")).unwrap();
    pod.delete().unwrap();
    wait_for("the VF is back", || netdev_of(&vf).is_ok()).unwrap();
    let error = refuse(&json!({}), &attachment);
    assert!(error["code"] == 3 || error["code"] == 102, "{error}");
    succeed("DEL", &json!({ "vlan": 100 }), &attachment);
    assert_eq!(
        at_pf(&pf, 0)["vlan_list"][0]["vlan"].as_u64().unwrap_or(0),
        0
    );
    assert_ne!(netdev_of(&vf).unwrap(), "net1");
    assert_nothing_left();
}

#[test]
fn del_without_an_add_changes_nothing() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    // Settings of an operator on a free VF are the baseline of the next attachment.
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "42"]).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("never").unwrap();
    succeed("DEL", &fields(), &attachment(&pod, &vf));
    pod.delete().unwrap();
    succeed("DEL", &fields(), &attachment(&pod, &vf));
    assert_eq!(pf.baseline().unwrap(), before);
    let other = Netns::new("never-2").unwrap();
    succeed("ADD", &json!({ "vlan": 43 }), &attachment(&other, &vf));
    succeed("DEL", &json!({ "vlan": 43 }), &attachment(&other, &vf));
    assert_eq!(pf.baseline().unwrap(), before);
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "0"]).unwrap();
    assert_nothing_left();
}

#[test]
fn reboot_restores_nothing_onto_a_new_vf() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("reboot").unwrap();
    let attachment = attachment(&pod, &vf);
    // After another boot, and after the VF was destroyed and created again.
    for (key, other) in [("boot_id", json!("another")), ("incarnation", json!(1))] {
        succeed("ADD", &json!({ "vlan": 100 }), &attachment);
        edit(&vf, |saved| {
            saved[key] = other;
            saved["baseline"]["settings"]["vlan"]["id"] = json!(77);
        });
        let fresh = at_pf(&pf, 0);
        succeed("DEL", &json!({ "vlan": 100 }), &attachment);
        assert_eq!(at_pf(&pf, 0), fresh);
        assert_nothing_left();
        // The state after a boot: the VF is on the host, with the settings of its driver.
        let name =
            ip_json(Some("reboot"), &["link", "show", "dev", "net1"]).unwrap()[0]["ifname"].clone();
        assert_eq!(name, "net1");
        ip(&[
            "-netns", "reboot", "link", "set", "net1", "netns", "1", "name", "eth9",
        ])
        .unwrap();
        ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "0"]).unwrap();
    }
}

#[test]
fn recreated_vf_is_free() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("made-again").unwrap();
    succeed("ADD", &fields(), &attachment(&pod, &vf));
    pf.set_vfs(1).unwrap();
    let before = pf.baseline().unwrap();
    // The old pod continues without the VF; the VF with this address is another one.
    let next = Netns::new("made-again-2").unwrap();
    succeed("ADD", &fields(), &attachment(&next, &vf));
    succeed("DEL", &fields(), &attachment(&pod, &vf));
    assert_eq!(in_pod(&next)["parentdev"], json!(vf));
    succeed("DEL", &fields(), &attachment(&next, &vf));
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn vf_that_cannot_be_restored_is_held_and_retried() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("dirty").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("ADD", &fields(), &attachment);
    // A baseline that igb refuses simulates a failing driver.
    let good = fs::read_to_string(journal(&vf)).unwrap();
    edit(&vf, |saved| {
        saved["baseline"]["settings"]["vlan"]["proto"] = json!("802.1ad");
    });
    let error = refuse_verb("DEL", &fields(), &attachment);
    assert_eq!(error["code"], 100, "{error}");
    assert!(
        error["msg"].as_str().unwrap().contains("vlan: igb on"),
        "{error}"
    );
    // The VF has left the pod, but is not assigned again.
    assert_eq!(in_pod(&pod), Value::Null);
    edit(&vf, |saved| assert_eq!(saved["phase"], "dirty"));
    let next = Netns::new("dirty-2").unwrap();
    let mut next_attachment = attachment.clone();
    next_attachment.netns = next.path();
    next_attachment.container_id = "c-next".into();
    refuse(&json!({}), &next_attachment);
    assert!(netdev_of(&vf).is_ok());
    // Other VFs can be attached, so that STATUS succeeds; its log names the VF.
    let status = run("STATUS", &json!({ "cniVersion": "1.1.0" }), &attachment);
    assert_eq!(status.code, Some(0), "{}", status.document);
    assert!(
        status.log.contains("held back") && status.log.contains("vlan"),
        "{}",
        status.log
    );
    // After the cause is gone, the next call restores it.
    let proto =
        serde_json::from_str::<Value>(&good).unwrap()["baseline"]["settings"]["vlan"]["proto"]
            .clone();
    edit(&vf, |saved| {
        saved["baseline"]["settings"]["vlan"]["proto"] = proto;
    });
    succeed("STATUS", &json!({ "cniVersion": "1.1.0" }), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
    succeed("ADD", &fields(), &next_attachment);
    succeed("DEL", &fields(), &next_attachment);
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn queued_add_survives_late_dels_of_the_earlier_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let recorder =
        Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }] }))
            .unwrap();
    let (first, second) = (
        Netns::new("queue-1").unwrap(),
        Netns::new("queue-2").unwrap(),
    );
    let (old, new) = (attachment(&first, &vf), attachment(&second, &vf));
    let fields =
        |vlan: u16| json!({ "cniVersion": "1.1.0", "vlan": vlan, "ipam": { "type": "recorder" } });
    let path = format!("{RECORDER_BIN}:{BIN}");
    let call = |verb: &str, vlan: u16, attachment| {
        run_with(verb, &fields(vlan), attachment, &[("CNI_PATH", &path)])
    };
    assert_eq!(call("ADD", 7, &old).code, Some(0));
    recorder.at("DEL", "sleep 1").unwrap();
    std::thread::scope(|scope| {
        let del = scope.spawn(|| call("DEL", 7, &old));
        wait_for("the DEL waits for IPAM", || recorder.verbs().len() == 2).unwrap();
        // The VF's lock is held: the ADD of the next pod and the repeated DEL wait.
        let add = scope.spawn(|| call("ADD", 1234, &new));
        let again = scope.spawn(|| call("DEL", 7, &old));
        for answer in [del, add, again] {
            let answer = answer.join().unwrap();
            assert_eq!(answer.code, Some(0), "{}", answer.document);
        }
    });
    assert_eq!(at_pf(&pf, 0)["vlan_list"][0]["vlan"], 1234);
    assert_eq!(in_pod(&second)["parentdev"], json!(vf));
    assert_eq!(call("DEL", 1234, &new).code, Some(0));
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

/// Whether the IPAM plugin reads its input or not, and whether it starts earlier and waits for its input.
#[test]
fn addresses_are_released_after_the_vf_left_the_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let netdev = netdev_of(&vf).unwrap();
    let result = json!({ "cniVersion": "1.1.0", "ips": [{ "address": "192.0.2.10/24" }] });
    for (plugin, reads) in [("whereabouts", true), ("odd", true), ("odd", false)] {
        let recorder = Recorder::named(plugin, &result).unwrap();
        let seen = tempfile::NamedTempFile::new().unwrap();
        let seen_at = seen.path().display();
        let look = format!("ls /sys/bus/pci/devices/{vf}/net >> {seen_at}");
        if reads {
            recorder.at("ADD", &look).unwrap();
            recorder.at("DEL", &look).unwrap();
        } else {
            let script = format!("#!/bin/busybox sh\n{look}\necho '{result}'\n");
            fs::write(format!("{RECORDER_BIN}/{plugin}"), script).unwrap();
        }
        let pod = Netns::new("answering").unwrap();
        let attachment = attachment(&pod, &vf);
        let fields = json!({ "cniVersion": "1.1.0", "vlan": 7, "ipam": { "type": plugin } });
        let path = format!("{RECORDER_BIN}:{BIN}");
        for (verb, expected) in [("ADD", String::new()), ("DEL", format!("{netdev}\n"))] {
            let answer = run_with(verb, &fields, &attachment, &[("CNI_PATH", &path)]);
            assert_eq!(answer.code, Some(0), "{}", answer.document);
            let seen = fs::read_to_string(seen.path()).unwrap();
            assert_eq!(seen, expected, "{verb} with {plugin}");
        }
        assert_nothing_left();
    }
}

#[test]
fn unfinished_files_are_removed() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("unfinished").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("DEL", &json!({}), &attachment);
    fs::write(format!("{STATE}/.{vf}.json.new"), "{").unwrap();
    succeed("DEL", &json!({}), &attachment);
    assert_nothing_left();
    assert!(run("DEL", &json!({}), &attachment).log.is_empty());
}
