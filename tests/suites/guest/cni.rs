//! The CNI plugin on real VFs: an attachment is complete or absent, and DEL restores exactly the earlier settings.

use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cni::{BIN, assert_nothing_left, at_pf, attachment, in_pod, refuse, succeed};
use sriov_testkit::multus::{Attachment, call};
use sriov_testkit::node::{Netns, Pf, ip, ip_json, netdev_of};

fn everything() -> Value {
    json!({ "vlan": 100, "vlanQoS": 3, "mac": "02:00:00:00:01:01", "spoofchk": "off", "trust": "on", "max_tx_rate": 50, "mtu": 1400 })
}

#[test]
fn add_applies_settings_and_del_restores_them() {
    let pf = Pf::with_vfs(0, 2).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    ip(&["link", "set", &name, "mtu", "1450"]).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("add-del").unwrap();
    let attachment = attachment(&pod, &vf);

    let result = succeed("ADD", &everything(), &attachment);
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:01:01");
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    assert_eq!(result["interfaces"][0]["sandbox"], "/run/netns/add-del");
    let at_pf = at_pf(&pf, 0);
    assert_eq!(
        at_pf["vlan_list"][0],
        json!({ "vlan": 100, "qos": 3 }),
        "{at_pf}"
    );
    assert_eq!(
        (&at_pf["spoofchk"], &at_pf["trust"], &at_pf["address"]),
        (&json!(false), &json!(true), &json!("02:00:00:00:01:01"))
    );
    let link = in_pod(&pod);
    assert_eq!(
        (&link["address"], &link["mtu"], &link["parentdev"]),
        (&json!("02:00:00:00:01:01"), &json!(1400), &json!(vf))
    );
    assert!(link["flags"].as_array().unwrap().contains(&json!("UP")));
    assert!(netdev_of(&vf).is_err());

    succeed("DEL", &everything(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
    succeed("DEL", &everything(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn mac_with_trust_off_works_repeatedly() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    for round in 0..4 {
        // A VF that was up on the host is up after DEL.
        ip(&[
            "link",
            "set",
            &name,
            if round % 2 == 0 { "up" } else { "down" },
        ])
        .unwrap();
        let before = pf.baseline().unwrap();
        let pod = Netns::new("trust-off").unwrap();
        let attachment = attachment(&pod, &vf);
        let mac = format!("02:00:00:00:02:{round:02x}");
        let fields = json!({ "mac": mac, "trust": "off" });
        succeed("ADD", &fields, &attachment);
        assert_eq!(in_pod(&pod)["address"], mac);
        assert_eq!(at_pf(&pf, 0)["address"], mac);
        succeed("DEL", &fields, &attachment);
        assert_eq!(pf.baseline().unwrap(), before, "round {round}");
    }
    assert_nothing_left();
}

/// A PF that goes up again loses the state of its VFs, and refuses their messages until they reset.
#[test]
fn mac_works_after_the_pf_was_down() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let name = netdev_of(&vf).unwrap();
    for state in ["down", "up"] {
        ip(&["link", "set", &name, state]).unwrap();
        pf.bounce().unwrap();
        let before = pf.baseline().unwrap();
        let pod = Netns::new("deaf").unwrap();
        let attachment = attachment(&pod, &vf);
        let fields = json!({ "mac": "02:00:00:00:0c:01", "trust": "off" });
        succeed("ADD", &fields, &attachment);
        assert_eq!(in_pod(&pod)["address"], "02:00:00:00:0c:01");
        assert_eq!(at_pf(&pf, 0)["address"], "02:00:00:00:0c:01");
        succeed("DEL", &fields, &attachment);
        assert_eq!(pf.baseline().unwrap(), before, "a VF that is {state}");
    }
    ip(&["link", "set", &name, "down"]).unwrap();
    assert_nothing_left();
}

#[test]
fn refused_setting_rolls_everything_back() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("refused").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    for (fields, setting, errno) in [
        (
            json!({ "vlan": 100, "mac": "02:00:00:00:03:01", "trust": "on", "link_state": "enable" }),
            "link_state",
            "EOPNOTSUPP",
        ),
        (
            json!({ "vlan": 100, "vlanProto": "802.1ad", "trust": "on" }),
            "vlan",
            "EPROTONOSUPPORT",
        ),
        (
            json!({ "vlan": 100, "min_tx_rate": 5, "trust": "on" }),
            "max_tx_rate",
            "EINVAL",
        ),
    ] {
        let error = refuse(&fields, &attachment);
        assert!(
            error["msg"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{setting}: igb on {}", pf.address)),
            "{error}"
        );
        assert!(
            error["details"].as_str().unwrap().contains(errno),
            "{error}"
        );
        assert_eq!(
            (&error["code"], &error["cniVersion"]),
            (&json!(100), &json!("1.0.0"))
        );
        assert_eq!(pf.baseline().unwrap(), before);
        assert_nothing_left();
    }
}

#[test]
fn failure_after_the_move_returns_the_vf() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("ipam-fails").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let mut fields = everything();
    fields["ipam"] = json!({ "type": "static", "addresses": [{ "address": "nonsense" }] });
    refuse(&fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    fields["ipam"] = json!({ "type": "no-such-plugin" });
    let error = refuse(&fields, &attachment);
    assert!(
        error["msg"].as_str().unwrap().contains("no-such-plugin"),
        "{error}"
    );
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn seven_adds_run_at_once() {
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let pods: Vec<Netns> = (0..7)
        .map(|index| Netns::new(&format!("seven-{index}")).unwrap())
        .collect();
    let fields = |index: usize| json!({ "vlan": 100 + index, "mac": format!("02:00:00:00:04:{index:02x}"), "trust": "off", "spoofchk": "on" });
    for verb in ["ADD", "DEL"] {
        std::thread::scope(|scope| {
            for (index, pod) in pods.iter().enumerate() {
                let attachment = attachment(pod, &pf.vf(index).unwrap());
                scope.spawn(move || succeed(verb, &fields(index), &attachment));
            }
        });
        for (index, pod) in pods.iter().enumerate().filter(|_| verb == "ADD") {
            assert_eq!(at_pf(&pf, index)["vlan_list"][0]["vlan"], 100 + index);
            assert_eq!(
                in_pod(pod)["address"],
                format!("02:00:00:00:04:{index:02x}")
            );
        }
    }
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn addresses_and_routes_come_from_ipam() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("ipam").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    let fields = json!({ "ipam": { "type": "static",
        "addresses": [{ "address": "192.0.2.10/24", "gateway": "192.0.2.1" }, { "address": "2001:db8::10/64" }],
        "routes": [{ "dst": "198.51.100.0/24" }] } });
    let result = succeed("ADD", &fields, &attachment);
    assert_eq!(
        result["ips"][0],
        json!({ "address": "192.0.2.10/24", "gateway": "192.0.2.1", "interface": 0 })
    );
    let locals: Vec<Value> = in_pod(&pod)["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| address["local"].clone())
        .collect();
    assert!(
        locals.contains(&json!("192.0.2.10")) && locals.contains(&json!("2001:db8::10")),
        "{locals:?}"
    );
    let routes = ip_json(Some(&pod.name), &["route", "show", "198.51.100.0/24"]).unwrap();
    assert_eq!(
        (&routes[0]["gateway"], &routes[0]["dev"]),
        (&json!("192.0.2.1"), &json!("net1"))
    );
    succeed("DEL", &fields, &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn interface_of_the_pod_is_never_changed() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("taken").unwrap();
    ip(&["-netns", "taken", "link", "add", "net1", "type", "dummy"]).unwrap();
    let theirs = in_pod(&pod);
    let error = refuse(&everything(), &attachment(&pod, &pf.vf(0).unwrap()));
    assert!(error["msg"].as_str().unwrap().contains("`net1`"), "{error}");
    assert_eq!(in_pod(&pod), theirs);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn removed_namespace_returns_its_vf_restored() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let pod = Netns::new("dies").unwrap();
    let attachment = attachment(&pod, &pf.vf(0).unwrap());
    succeed("ADD", &everything(), &attachment);
    pod.delete().unwrap();
    succeed("DEL", &everything(), &attachment);
    assert_eq!(pf.baseline().unwrap(), before);
    assert_nothing_left();
}

#[test]
fn next_pod_inherits_nothing_after_a_missing_del() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let before = pf.baseline().unwrap();
    let vf = pf.vf(0).unwrap();
    let lost = Netns::new("lost").unwrap();
    succeed("ADD", &everything(), &attachment(&lost, &vf));

    let next = Netns::new("next").unwrap();
    let busy = refuse(&json!({}), &attachment(&next, &vf));
    assert_eq!(busy["code"], 11, "{busy}");
    lost.delete().unwrap();
    succeed("ADD", &json!({}), &attachment(&next, &vf));
    assert_eq!(
        at_pf(&pf, 0)["vlan_list"][0]["vlan"].as_u64().unwrap_or(0),
        0
    );
    // The late DEL of the lost pod does not change the VF of the next pod.
    succeed("DEL", &everything(), &attachment(&lost, &vf));
    assert_eq!(in_pod(&next)["parentdev"], json!(vf));
    succeed("DEL", &json!({}), &attachment(&next, &vf));
    assert_eq!(pf.baseline().unwrap(), before);
}

#[test]
fn device_id_is_read_from_the_device_info_file() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let vf = pf.vf(0).unwrap();
    let pod = Netns::new("by-file").unwrap();
    let file = "/tmp/device-info";
    std::fs::write(
        file,
        json!({ "type": "pci", "version": "1.1.0", "pci": { "pci-address": vf } }).to_string(),
    )
    .unwrap();
    let config = json!({ "cniVersion": "1.1.0", "name": "test", "type": "sriov", "runtimeConfig": { "CNIDeviceInfoFile": file } });
    let attachment = attachment(&pod, &vf);
    let answer = call(Path::new(BIN), "ADD", &config, &attachment).unwrap();
    assert_eq!(answer.code, Some(0), "{}", answer.document);
    assert_eq!(answer.document["interfaces"][0]["pciID"], json!(vf));
    assert_eq!(
        call(Path::new(BIN), "DEL", &config, &attachment)
            .unwrap()
            .code,
        Some(0)
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn other_devices_are_refused_with_their_own_sentence() {
    let pf = Pf::with_vfs(0, 1).unwrap();
    let pod = Netns::new("no-vf").unwrap();
    for (device, words) in [
        (pf.address.as_str(), "is a PF"),
        ("0000:7f:1f.7", "there is no PCI device"),
    ] {
        let error = refuse(&json!({}), &attachment(&pod, device));
        assert!(error["msg"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(error["code"], 7);
    }
    let host = Attachment {
        netns: "/proc/1/ns/net".into(),
        ..attachment(&pod, &pf.vf(0).unwrap())
    };
    assert_eq!(refuse(&json!({}), &host)["code"], 8);
}

#[test]
fn version_lists_all_versions() {
    let pod = Netns::new("version").unwrap();
    let answer = succeed("VERSION", &json!({}), &attachment(&pod, "0000:00:00.0"));
    assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 7);
}
