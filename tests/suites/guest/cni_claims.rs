//! Real VFs of a pod's resource claims: the hand-over of the DRA driver names them, the configuration does not.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sriov_testkit::cni::{
    BIN, RECORDER_BIN, Recorder, STATE, assert_nothing_left, at_pf, attachment, in_pod,
    refuse_verb, run_with, state, succeed,
};
use sriov_testkit::multus::Attachment;
use sriov_testkit::node::{Netns, Pf, ip, ip_json, netdev_of};

/// The hand-over of a pod, removed when it is dropped.
struct HandOver(PathBuf);

impl HandOver {
    fn new(pod: &Netns, devices: &[Value]) -> Self {
        let uid = format!("uid-of-{}", pod.name);
        let dir = Path::new(STATE).join("claims");
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join(format!("{uid}.json"));
        let pod = json!({ "namespace": "default", "name": pod.name, "uid": uid });
        let claims =
            json!({ "version": 1, "driver": "sriov.virtfn.dev", "pod": pod, "devices": devices });
        std::fs::write(&file, claims.to_string()).unwrap();
        Self(file)
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn claimed(request: &str, vf: &str, network: &str, metadata: Option<&Path>) -> Value {
    json!({ "claim": { "namespace": "default", "name": "feed", "uid": "uid-of-feed" }, "request": request, "pool": "node-1",
        "device": vf.replace([':', '.'], "-"), "pci_address": vf, "resource": "example.com/sriov",
        "network": { "namespace": "default", "name": network }, "ifname": null, "metadata": metadata })
}

/// A network without a device: `vlan` identifies it.
fn network(name: &str, vlan: u16) -> Value {
    json!({ "cniVersion": "1.1.0", "name": name, "deviceID": null, "vlan": vlan, "trust": "on" })
}

fn as_interface(ifname: &str, attachment: &Attachment) -> Attachment {
    Attachment {
        ifname: ifname.into(),
        ..attachment.clone()
    }
}

#[test]
fn vfs_of_one_class_are_attached_to_their_networks() {
    let pf = Pf::with_vfs(0, 3).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("claims").unwrap();
    let any = attachment(&pod, "nobody-names-it");
    let (left, right) = (pf.vf(2).unwrap(), pf.vf(0).unwrap());
    let hand_over = HandOver::new(
        &pod,
        &[
            claimed("a", &left, "left", None),
            claimed("b", &right, "right", None),
        ],
    );
    let networks = [
        ("net1", network("right", 101), &right, 0),
        ("net2", network("left", 102), &left, 2),
    ];
    let mut checks = Vec::new();
    for (ifname, network, vf, index) in &networks {
        let attachment = as_interface(ifname, &any);
        let result = succeed("ADD", network, &attachment);
        assert_eq!(result["interfaces"][0]["pciID"], **vf);
        assert_eq!(at_pf(&pf, *index)["vlan_list"][0]["vlan"], network["vlan"]);
        let link = ip_json(Some(&pod.name), &["link", "show", "dev", ifname]).unwrap();
        assert_eq!(link[0]["parentdev"], **vf);
        let mut check = network.clone();
        check["prevResult"] = result;
        checks.push((attachment, check));
    }
    for (attachment, check) in &checks {
        succeed("CHECK", check, attachment);
    }
    let third = as_interface("net3", &any);
    for (network, words) in [
        (network("left", 103), "is attached already"),
        (network("other", 103), "no device of the pod's claims"),
    ] {
        let refused = refuse_verb("ADD", &network, &third);
        assert_eq!(refused["code"], 7);
        assert!(
            refused["msg"].as_str().unwrap().contains(words),
            "{refused}"
        );
    }
    let mut named = network("left", 103);
    named["deviceID"] = json!(pf.vf(1).unwrap());
    let refused = refuse_verb("ADD", &named, &third);
    let words = refused["msg"].as_str().unwrap();
    assert!(
        words.contains(&pf.vf(1).unwrap()) && words.contains(&left),
        "{refused}"
    );
    // A claim may be unprepared before its attachment is released.
    drop(hand_over);
    for (attachment, check) in &checks {
        succeed("DEL", check, attachment);
    }
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn claimed_vf_without_its_journal_is_released() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let pod = Netns::new("lost-claim").unwrap();
    let attachment = attachment(&pod, "nobody-names-it");
    let (free, vf) = (pf.vf(1).unwrap(), pf.vf(0).unwrap());
    let name = netdev_of(&vf).unwrap();
    let devices = [
        claimed("a", &free, "other", None),
        claimed("b", &vf, "left", None),
    ];
    let _hand_over = HandOver::new(&pod, &devices);
    let fields = network("left", 100);
    succeed("ADD", &fields, &attachment);
    for file in state() {
        let _ = std::fs::remove_file(Path::new(STATE).join(&file));
        let _ = std::fs::remove_file(Path::new(STATE).join("pci").join(&file));
    }
    succeed("DEL", &fields, &attachment);
    assert_eq!(in_pod(&pod), Value::Null);
    let now = at_pf(&pf, 0);
    let found = (&now["vlan_list"][0]["vlan"], &now["trust"]);
    assert_eq!(found, (&Value::Null, &json!(false)));
    assert_nothing_left();
    let here = netdev_of(&vf).unwrap();
    if here != name {
        ip(&["link", "set", &here, "name", &name]).unwrap();
    }
}

#[test]
fn metadata_of_the_claim_get_the_network_data() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("metadata").unwrap();
    let any = attachment(&pod, "nobody-names-it");
    let vf = pf.vf(0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.json");
    let device = json!({ "driver": "sriov.virtfn.dev", "pool": "node-1", "name": vf.replace([':', '.'], "-") });
    let object = |version: &str| {
        json!({ "apiVersion": format!("metadata.resource.k8s.io/{version}"), "kind": "DeviceMetadata",
            "metadata": { "name": "feed", "generation": 1 }, "requests": [{ "name": "a", "devices": [device] }] })
    };
    std::fs::write(
        &path,
        format!("{}\n{}\n", object("v1beta1"), object("v1alpha1")),
    )
    .unwrap();
    let _hand_over = HandOver::new(&pod, &[claimed("a", &vf, "left", Some(&path))]);
    let ips = json!([{ "address": "192.0.2.10/24" }, { "address": "2001:db8::10/64" }]);
    let _recorder = Recorder::new(&json!({ "cniVersion": "1.1.0", "ips": ips })).unwrap();
    let mut fields = network("left", 100);
    fields["mac"] = json!("02:00:00:00:0e:01");
    fields["ipam"] = json!({ "type": "recorder" });
    let cni_path = format!("{RECORDER_BIN}:{BIN}");
    let added = run_with("ADD", &fields, &any, &[("CNI_PATH", &cni_path)]);
    assert_eq!(added.code, Some(0), "{} {}", added.document, added.log);
    let text = std::fs::read_to_string(&path).unwrap();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["metadata"]["generation"], 2);
        let data = json!({ "interfaceName": "net1", "hardwareAddress": "02:00:00:00:0e:01", "ips": ["192.0.2.10/24", "2001:db8::10/64"] });
        assert_eq!(object["requests"][0]["devices"][0]["networkData"], data);
    }
    assert_eq!(text.lines().count(), 2);
    let deleted = run_with("DEL", &fields, &any, &[("CNI_PATH", &cni_path)]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.document);
    assert_nothing_left();
}
