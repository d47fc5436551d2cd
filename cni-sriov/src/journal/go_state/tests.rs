//! States of the Go plugin, as its versions write them.

use proptest::prelude::*;
use sriov_host::VfIndex;
use sriov_host::netlink::Link;

use super::*;
use crate::model::{Driver, PfView, VfSide};

/// As `sriov-cni` 2.8 marshals its configuration, for an 82576.
const GO: &str = r#"{"OrigVfState":{"HostIFName":"eth2","SpoofChk":true,"Trust":false,"AdminMAC":"00:00:00:00:00:00","EffectiveMAC":"02:00:00:00:00:07","Vlan":0,"VlanQoS":0,"VlanProto":129,"MinTxRate":0,"MaxTxRate":0,"LinkState":0,"MTU":1500},"Master":"pf0","MAC":"02:00:00:00:00:01","vlan":100,"vlanQoS":3,"vlanProto":"802.1q","deviceID":"0000:01:10.0","VFID":0,"min_tx_rate":null,"max_tx_rate":null,"trust":"on","runtimeConfig":{},"cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{"type":"static"},"dns":{}}"#;

#[test]
fn state_of_go_has_touched_settings_and_baseline() {
    let found = decode(GO, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(
        (found.network.as_str(), found.device.to_string()),
        ("n", "0000:01:10.0".to_owned())
    );
    let touched: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
    assert_eq!(
        touched,
        [
            "vlan 100 qos 3 proto 802.1q",
            "trust on",
            "mac 02:00:00:00:00:01"
        ]
    );
    let link = found.baseline.link.unwrap();
    assert_eq!(
        (link.name.as_str(), link.mtu, link.altnames),
        ("eth2", Some(1500), None)
    );
    let settings = found.baseline.settings.unwrap();
    assert_eq!(
        (settings.spoofchk, settings.vlan),
        (Some(true), Some(Vlan::default()))
    );
    assert_eq!(found.ipam.unwrap().plugin, "static");
}

/// As `sriov-cni` 2.1.0 left it on an 82576; it does not know `trust`, and passed it over.
const GO_2_1: &str = r#"{"cniVersion":"0.3.1","name":"n","type":"sriov","ipam":{"type":"static"},"dns":{},"DPDKMode":false,"Master":"pf0","vlan":100,"deviceID":"0000:01:10.0","VFID":0,"HostIFNames":"eth2","ContIFNames":"net1","trust":"on"}"#;

#[test]
fn state_without_a_baseline_goes_back_to_the_defaults() {
    let found = decode(GO_2_1, SystemTime::UNIX_EPOCH).unwrap();
    let touched: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
    assert_eq!(touched, ["vlan 100 qos 0 proto 802.1q", "trust on"]);
    assert_eq!(found.baseline.settings, Some(guessed_settings()));
    let link = found.baseline.link.unwrap();
    assert_eq!(
        (link.name.as_str(), link.mac, link.mtu),
        ("eth2", None, None)
    );
    assert_eq!(found.ipam.unwrap().plugin, "static");
    // A network configuration is not a state.
    let conf =
        r#"{"cniVersion":"0.3.1","name":"n","type":"sriov","vlan":100,"deviceID":"0000:01:10.0"}"#;
    assert_eq!(decode(conf, SystemTime::UNIX_EPOCH), None);
}

proptest! {
    #[test]
    fn any_state_is_read_or_none(
        field in 0_usize..24,
        value in r#"null|-1|70000|1e99|""|"x"|\[\]|\{\}|true"#,
    ) {
        let mut state: Value = serde_json::from_str(GO).unwrap();
        for pointer in ["", "/OrigVfState"] {
            let fields = state.pointer_mut(pointer).and_then(Value::as_object_mut);
            if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                let key = fields.keys().nth(field % fields.len()).unwrap().clone();
                fields.insert(key, serde_json::from_str(&value).unwrap());
            }
        }
        let _ = decode(&state.to_string(), SystemTime::UNIX_EPOCH);
    }
}

#[test]
fn torn_state_is_none() {
    for length in 0..GO.len() {
        assert_eq!(decode(&GO[..length], SystemTime::UNIX_EPOCH), None);
    }
}

#[test]
fn state_written_for_go_is_read_unchanged() {
    let stdin = r#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "vlan": 100, "mac": "02:00:00:00:00:02", "trust": "on",
        "runtimeConfig": {"mac": "02:00:00:00:00:01", "deviceID": "0000:01:10.0"}}"#;
    let conf = NetConf::parse(stdin, None).unwrap();
    let settings = VfSettings {
        mac: Some(sriov_host::MacAddr::ZERO),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(false),
        rate: Some(VfRate { min: 0, max: 50 }),
        link_state: Some(VfLinkState::Disable),
        ..VfSettings::default()
    };
    let view = VfView {
        address: "0000:01:10.0".parse().unwrap(),
        incarnation: 1,
        pf: PfView {
            address: "0000:01:00.0".parse().unwrap(),
            name: "pf0".into(),
            driver: Driver::new("igb"),
            ifindex: 3,
        },
        index: VfIndex::new(2),
        settings: Some(settings),
        driver: Driver::new("igbvf"),
        ethtool: None,
        side: VfSide::Netdev(Link {
            index: 5,
            name: "eth2".into(),
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            mtu: 1450,
            is_up: true,
            has_carrier: true,
            ..Link::default()
        }),
    };
    let text = encode(stdin, &conf, &view, &"net1".parse().unwrap());
    let found = decode(&text, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(found.baseline.settings, Some(settings));
    assert_eq!(found.wanted, named_changes(&conf.wanted, &settings));
    let link = found.baseline.link.unwrap();
    assert_eq!((link.name.as_str(), link.mtu), ("eth2", Some(1450)));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["Master"], &value["VFID"], &value["MAC"]),
        (&json!("pf0"), &json!(2), &json!("02:00:00:00:00:01"))
    );
    // Without these 2.1.0 would rename the network device to nothing, and fail.
    assert_eq!(
        (&value["HostIFNames"], &value["ContIFNames"]),
        (&json!("eth2"), &json!("net1"))
    );
}

#[test]
fn impossible_name_is_replaced_by_a_spare_one() {
    let state = GO.replace("eth2", "a/b");
    let found = decode(&state, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(found.baseline.link.unwrap().name.as_str(), "vf0-01100");
}
