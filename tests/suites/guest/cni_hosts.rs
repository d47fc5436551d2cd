//! Hosts that change under an attachment: a PF that is down, a namespace that is replaced.

use std::path::Path;

use serde_json::json;
use sriov_testkit::cni::{
    STATE, assert_nothing_left, at_pf, attachment, in_pod, refuse, state, succeed,
};
use sriov_testkit::node::{Netns, Pf, ip, wait_for};

#[test]
fn del_while_the_pf_is_down_succeeds() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("maintenance").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:0c:01", "trust": "on", "spoofchk": "off", "mtu": 1400 });
    for _ in 0..2 {
        succeed("ADD", &fields, &attachment);
        ip(&["link", "set", &pf.netdev, "down"]).unwrap();
        succeed("DEL", &fields, &attachment);
        assert_nothing_left();
        ip(&["link", "set", &pf.netdev, "up"]).unwrap();
        // The PF forgot the address of the VF, which sends it when it is reset.
        wait_for("the PF has its earlier state", || {
            pf.reset_vfs(1);
            pf.baseline().is_ok_and(|now| now == before)
        })
        .unwrap();
    }
}

/// igb computes a rate from the speed of the link, and refuses one without a link.
#[test]
fn rate_of_a_pf_without_link_is_restored_before_the_next_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("cable").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "max_tx_rate": 100, "vlan": 100, "trust": "on" });
    let rate = || at_pf(&pf, 0)["rate"]["max_tx"].clone();
    for restores in ["STATUS", "ADD"] {
        succeed("ADD", &fields, &attachment);
        pf.set_carrier(false).unwrap();
        for _ in 0..2 {
            succeed("DEL", &fields, &attachment);
            assert_eq!(in_pod(&pod), serde_json::Value::Null);
            assert_eq!(rate(), 100);
            assert_eq!(state(), [format!("{}.json", attachment.device_id)]);
        }
        assert_eq!(
            at_pf(&pf, 0)["vlan_list"][0]["vlan"],
            serde_json::Value::Null
        );
        let refused = refuse(&json!({}), &attachment);
        assert_eq!(refused["code"], 11, "{refused}");
        assert!(
            refused["msg"].as_str().unwrap().contains("max_tx_rate"),
            "{refused}"
        );
        pf.set_carrier(true).unwrap();
        if restores == "ADD" {
            succeed("ADD", &json!({ "trust": "on" }), &attachment);
            assert_eq!(rate(), 0);
            succeed("DEL", &json!({ "trust": "on" }), &attachment);
        } else {
            succeed("STATUS", &json!({ "cniVersion": "1.1.0" }), &attachment);
        }
        assert_nothing_left();
        wait_for("the PF has its earlier state", || {
            pf.reset_vfs(1);
            pf.baseline().is_ok_and(|now| now == before)
        })
        .unwrap();
    }
}

/// An earlier version accepted the name, and the kernel chose a number.
#[test]
fn interface_with_a_number_of_the_kernel_is_released() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("numbered").unwrap();
    let mut attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "trust": "on" });
    attachment.ifname = "net%d".into();
    assert_eq!(refuse(&fields, &attachment)["code"], 4);
    attachment.ifname = "net1".into();
    succeed("ADD", &fields, &attachment);
    ip(&["-netns", &pod.name, "link", "set", "net1", "down"]).unwrap();
    ip(&["-netns", &pod.name, "link", "set", "net1", "name", "net0"]).unwrap();
    let file = Path::new(STATE).join(format!("{}.json", attachment.device_id));
    let text = std::fs::read_to_string(&file).unwrap();
    let older = text.replace(r#""ifname":"net1""#, r#""ifname":"net%d""#);
    assert_ne!(older, text);
    std::fs::write(&file, older).unwrap();
    let container = &attachment.container_id;
    let names = ["net1", "net%d"].map(|name| Path::new(STATE).join(format!("{container}-{name}")));
    std::fs::rename(&names[0], &names[1]).unwrap();
    attachment.ifname = "net%d".into();
    succeed("DEL", &fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn new_namespace_under_the_same_path_is_another_pod() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let vf = pf.vf(0).unwrap();
    let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "trust": "on" });
    for round in 0..4 {
        let pod = Netns::new("again").unwrap();
        let mut attachment = attachment(&pod, &vf);
        attachment.container_id = format!("c-{round}");
        succeed("ADD", &fields, &attachment);
        assert_ne!(in_pod(&pod), serde_json::Value::Null);
    }
    let pod = Netns::new("again").unwrap();
    let mut attachment = attachment(&pod, &vf);
    attachment.container_id = "c-3".into();
    succeed("DEL", &fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}
