//! Real VFs with drivers for user space, and real VFs that cannot be attached.

use std::path::Path;

use serde_json::{Value, json};
use sriov_host::{HostRoot, driver};
use sriov_testkit::cni::{
    assert_nothing_left, at_pf, attachment, in_pod, refuse, refuse_verb, succeed,
};
use sriov_testkit::node::{Driver, Netns, Pf, ip, netdev_of};

#[test]
fn userspace_vf_gets_settings_at_the_pf_and_no_interface() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    for driver in ["vfio-pci", "uio_pci_generic"] {
        let bound = Driver::bind(&vf, driver).unwrap();
        let before = pf.baseline().unwrap();
        let pod = Netns::new("user-space").unwrap();
        let attachment = attachment(&pod, &vf);
        let fields = json!({ "cniVersion": "1.1.0", "vlan": 100, "mac": "02:00:00:00:08:01", "trust": "on", "spoofchk": "off" });
        let result = succeed("ADD", &fields, &attachment);
        assert_eq!(
            result["interfaces"],
            json!([{ "name": "net1", "mac": "02:00:00:00:08:01", "sandbox": "/run/netns/user-space", "pciID": vf }])
        );
        let now = at_pf(&pf, 0);
        assert_eq!(
            (&now["address"], &now["vlan_list"][0]["vlan"], &now["trust"]),
            (&json!("02:00:00:00:08:01"), &json!(100), &json!(true))
        );
        assert_eq!(in_pod(&pod), Value::Null);
        let mut check = fields.clone();
        check["prevResult"] = result;
        succeed("CHECK", &check, &attachment);
        ip(&["link", "set", &pf.netdev, "vf", "0", "trust", "off"]).unwrap();
        let drift = refuse_verb("CHECK", &check, &attachment);
        assert!(drift["msg"].as_str().unwrap().contains("trust"), "{drift}");
        succeed("DEL", &fields, &attachment);
        assert_eq!(pf.baseline().unwrap(), before, "{driver}");
        assert_nothing_left();
        let error = refuse(&json!({ "mtu": 9000 }), &attachment);
        assert_eq!(error["code"], 7);
        assert!(
            error["msg"].as_str().unwrap().starts_with("mtu: the VF"),
            "{error}"
        );
        drop(bound);
    }
    assert!(netdev_of(&vf).is_ok());
}

#[test]
fn vf_rebound_during_its_attachment_is_released() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("rebound").unwrap();
    let attachment = attachment(&pod, &vf);
    let fields = json!({ "vlan": 100, "trust": "on" });
    succeed("ADD", &fields, &attachment);
    let bound = Driver::bind(&vf, "vfio-pci").unwrap();
    succeed("DEL", &fields, &attachment);
    let now = at_pf(&pf, 0);
    assert_eq!(
        (&now["vlan_list"][0]["vlan"], &now["trust"]),
        (&Value::Null, &json!(false))
    );
    assert_nothing_left();
    drop(bound);
}

/// The kernel would wait for the process without end, and nothing could stop the caller.
#[test]
fn vfio_device_in_use_is_not_unbound() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let bound = Driver::bind(&vf, "vfio-pci").unwrap();
    let (root, device) = (HostRoot::default(), vf.parse().unwrap());
    let group = std::fs::read_link(format!("/sys/bus/pci/devices/{vf}/iommu_group")).unwrap();
    let group = group.file_name().unwrap().to_string_lossy();
    let names = [
        format!("/dev/vfio/{group}"),
        format!("/dev/vfio/noiommu-{group}"),
    ];
    let name = names.iter().find(|name| Path::new(name).exists()).unwrap();
    let open = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name)
        .unwrap();
    let refused = driver::unbind(&root, device).unwrap_err().to_string();
    let expected = format!(
        "cannot unbind {vf} from driver `vfio-pci`: process {} (",
        std::process::id()
    );
    assert!(
        refused.starts_with(&expected) && refused.ends_with(&format!("has `{name}` open")),
        "{refused}"
    );
    assert_eq!(driver::name(&root, device).as_deref(), Some("vfio-pci"));
    drop(open);
    assert_eq!(
        driver::unbind(&root, device).unwrap().as_deref(),
        Some("vfio-pci")
    );
    drop(bound);
    assert!(netdev_of(&vf).is_ok());
}

#[test]
fn each_unattachable_vf_has_its_own_sentence() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("sentences").unwrap();
    let attachment = attachment(&pod, &vf);
    let says = |words: &str, code: u32| {
        let error = refuse(&json!({ "vlan": 100 }), &attachment);
        assert!(error["msg"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(error["code"], code, "{error}");
        assert_nothing_left();
    };
    let unbound = Driver::unbind(&vf).unwrap();
    says("no driver is bound", 7);
    drop(unbound);
    // The driver may choose a new address when it is bound.
    pf.reset_vfs(1);
    let before = pf.baseline().unwrap();

    ip(&["link", "set", &pf.netdev, "down"]).unwrap();
    says("is down", 11);
    ip(&["link", "set", &pf.netdev, "up"]).unwrap();

    let away = Netns::new("pf-away").unwrap();
    ip(&["link", "set", &pf.netdev, "netns", &away.name]).unwrap();
    says("moved to another network namespace", 7);
    ip(&[
        "-netns", &away.name, "link", "set", &pf.netdev, "netns", "1",
    ])
    .unwrap();
    ip(&["link", "set", &pf.netdev, "up"]).unwrap();

    let name = netdev_of(&vf).unwrap();
    ip(&["link", "set", &name, "netns", &away.name]).unwrap();
    says("is not on the host", 7);
    ip(&["-netns", &away.name, "link", "set", &name, "netns", "1"]).unwrap();
    sriov_testkit::node::wait_for("the PF has its earlier state", || {
        pf.reset_vfs(1);
        pf.baseline().is_ok_and(|now| now == before)
    })
    .unwrap();
}
