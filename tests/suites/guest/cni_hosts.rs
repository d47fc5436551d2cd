//! Hosts that change under an attachment: a PF that is down, a namespace that is replaced.

use serde_json::json;
use sriov_testkit::cni::{assert_nothing_left, attachment, in_pod, succeed};
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
