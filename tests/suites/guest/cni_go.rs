//! Our plugin and the Go plugin on one node with real VFs: each understands the state of the other.

use std::fs;

use serde_json::{Value, json};
use sriov_testkit::cni::{
    STATE, assert_nothing_left, at_pf, attachment, in_pod, refuse, state, succeed,
};
use sriov_testkit::node::{Netns, Pf, ip, ip_json, netdev_of, wait_for};

fn fields() -> Value {
    json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:06:01", "spoofchk": "off", "trust": "on", "mtu": 1400 })
}

/// Creates the state that `sriov-cni` 2.8 leaves after an ADD with VLAN, trust and a moved network device.
fn as_go_did(pf: &Pf, vf: &str, pod: &Netns, container_id: &str) {
    let name = netdev_of(vf).unwrap();
    let link = ip_json(None, &["link", "show", "dev", &name]).unwrap()[0].clone();
    let state = json!({
        "cniVersion": "1.0.0", "name": "test", "type": "sriov", "deviceID": vf, "vlan": 100, "vlanQoS": 0, "vlanProto": "802.1q", "trust": "on",
        "OrigVfState": { "HostIFName": name, "SpoofChk": true, "Trust": false, "AdminMAC": at_pf(pf, 0)["address"], "EffectiveMAC": link["address"],
                         "Vlan": 0, "VlanQoS": 0, "VlanProto": 33024, "MinTxRate": 0, "MaxTxRate": 0, "LinkState": 0, "MTU": link["mtu"] },
        "Master": pf.netdev, "VFID": 0, "MAC": "" });
    fs::create_dir_all(format!("{STATE}/pci/vf_lock")).unwrap();
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "100"]).unwrap();
    ip(&["link", "set", &pf.netdev, "vf", "0", "trust", "on"]).unwrap();
    ip(&["link", "set", &name, "netns", &pod.name, "name", "net1"]).unwrap();
    ip(&[
        "-netns", &pod.name, "link", "set", "net1", "mtu", "1300", "up",
    ])
    .unwrap();
    fs::write(format!("{STATE}/{container_id}-net1"), state.to_string()).unwrap();
    fs::write(format!("{STATE}/pci/{vf}"), pod.path().to_str().unwrap()).unwrap();
}

#[test]
fn attachment_of_the_go_plugin_is_respected_and_released() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("go-pod").unwrap();
    let attachment = attachment(&pod, &vf);
    as_go_did(&pf, &vf, &pod, "c-go-pod");
    let next = Netns::new("go-next").unwrap();
    let error = refuse(&json!({}), &sriov_testkit::cni::attachment(&next, &vf));
    assert_eq!(error["code"], 11, "{error}");
    succeed("DEL", &json!({ "vlan": 100, "trust": "on" }), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();

    // The same, after the namespace was removed.
    as_go_did(&pf, &vf, &pod, "c-go-pod");
    pod.delete().unwrap();
    wait_for("the VF is back", || netdev_of(&vf).is_ok()).unwrap();
    succeed("DEL", &json!({ "vlan": 100, "trust": "on" }), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();

    // The same, with a clock that was set forward: the state is older than the boot, and its VF is in the pod.
    let pod = Netns::new("go-pod").unwrap();
    as_go_did(&pf, &vf, &pod, "c-go-pod");
    let file = fs::File::options()
        .write(true)
        .open(format!("{STATE}/c-go-pod-net1"))
        .unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    succeed("DEL", &json!({ "vlan": 100, "trust": "on" }), &attachment);
    assert_eq!(in_pod(&pod), Value::Null);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
    drop(pod);

    // The same, without a DEL: GC releases it.
    let pod = Netns::new("go-pod").unwrap();
    as_go_did(&pf, &vf, &pod, "c-go-pod");
    succeed(
        "GC",
        &json!({ "cniVersion": "1.1.0", "cni.dev/valid-attachments": [{ "containerID": "c-go-pod", "ifname": "net1" }] }),
        &attachment,
    );
    assert_eq!(in_pod(&pod)["ifname"], "net1");
    succeed(
        "GC",
        &json!({ "cniVersion": "1.1.0", "cni.dev/valid-attachments": [] }),
        &attachment,
    );
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

/// Our plugin attached the VF to the first pod; the Go plugin replaced it, released the VF and attached it to the second pod; now our plugin is back.
fn pass_on(pf: &Pf, vf: &str, first: &Netns, second: &Netns) {
    let name = netdev_of(vf).unwrap();
    succeed("ADD", &json!({ "vlan": 100 }), &attachment(first, vf));
    // Version 2.1.0 releases it by its own state alone, and does not read `pci/`.
    ip(&["-netns", &first.name, "link", "set", "net1", "down"]).unwrap();
    let host = std::process::id().to_string();
    let home = ["netns", &host, "name", &name];
    let leave = ["-netns", &first.name, "link", "set", "net1"];
    ip(&[leave.as_slice(), home.as_slice()].concat()).unwrap();
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "0"]).unwrap();
    fs::remove_file(format!("{STATE}/c-go-first-net1")).unwrap();

    let state = json!({
        "cniVersion": "0.3.1", "name": "test", "type": "sriov", "dns": {}, "DPDKMode": false, "Master": pf.netdev, "vlan": 100,
        "deviceID": vf, "VFID": 0, "HostIFNames": name, "ContIFNames": "net1" });
    ip(&["link", "set", &pf.netdev, "vf", "0", "vlan", "100"]).unwrap();
    let enter = ["netns", &second.name, "name", "net1"];
    ip(&[["link", "set", &name].as_slice(), enter.as_slice()].concat()).unwrap();
    fs::write(format!("{STATE}/c-go-second-net1"), state.to_string()).unwrap();
}

#[test]
fn journal_is_stale_after_a_release_by_the_go_plugin() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let second = Netns::new("go-second").unwrap();
    pass_on(&pf, &vf, &Netns::new("go-first").unwrap(), &second);
    succeed("DEL", &json!({ "vlan": 100 }), &attachment(&second, &vf));
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn late_del_keeps_the_vf_that_go_passed_on() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let before = pf.baseline().unwrap();
    let listed = json!([{ "containerID": "c-go-second", "ifname": "net1" }]);
    let gc = json!({ "cniVersion": "1.1.0", "cni.dev/valid-attachments": listed });
    for (verb, fields) in [("DEL", &json!({ "vlan": 100 })), ("GC", &gc)] {
        let first = Netns::new("go-first").unwrap();
        let of_first = attachment(&first, &vf);
        let second = Netns::new("go-second").unwrap();
        pass_on(&pf, &vf, &first, &second);
        let given = at_pf(&pf, 0);
        succeed(verb, fields, &of_first);
        assert_eq!(at_pf(&pf, 0), given, "{verb}");
        assert_eq!(in_pod(&second)["ifname"], "net1");
        assert_eq!(state(), ["c-go-second-net1"]);
        succeed("DEL", &json!({ "vlan": 100 }), &attachment(&second, &vf));
        assert_eq!(pf.baseline().unwrap(), before);
        assert_nothing_left();
    }
}

#[test]
fn our_state_has_all_fields_of_the_go_plugin() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    let before = at_pf(&pf, 0);
    let link = ip_json(None, &["link", "show", "dev", &name]).unwrap()[0].clone();
    let pod = Netns::new("for-go").unwrap();
    let attachment = attachment(&pod, &vf);
    succeed("ADD", &fields(), &attachment);
    assert_eq!(
        fs::read_to_string(format!("{STATE}/pci/{vf}")).unwrap(),
        "/run/netns/for-go"
    );
    let state: Value =
        serde_json::from_str(&fs::read_to_string(format!("{STATE}/c-for-go-net1")).unwrap())
            .unwrap();
    let was = &state["OrigVfState"];
    assert_eq!(
        (&was["HostIFName"], &was["EffectiveMAC"], &was["MTU"]),
        (&json!(name), &link["address"], &link["mtu"])
    );
    assert_eq!(
        (&was["SpoofChk"], &was["AdminMAC"]),
        (&before["spoofchk"], &before["address"])
    );
    assert_eq!(
        (
            &state["Master"],
            &state["VFID"],
            &state["vlan"],
            &state["deviceID"]
        ),
        (&json!(pf.netdev), &json!(0), &json!(100), &json!(vf))
    );
    succeed("DEL", &fields(), &attachment);
    assert_nothing_left();
}
