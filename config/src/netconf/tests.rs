//! Network configurations, right and wrong.

use proptest::prelude::*;
use sriov_host::vf::VfRate;
use sriov_host::vlan::VlanProto;

use super::*;

fn parse(fields: &str) -> Result<NetConf, NetConfError> {
    NetConf::parse(
        &format!(r#"{{"cniVersion": "1.0.0", "name": "n", "type": "sriov", {fields}}}"#),
        None,
    )
}

#[test]
fn all_fields_are_read() {
    let conf = parse(
        r#""deviceID": "0000:01:10.0", "pciBusID": "0000:01:10.0", "vlan": 100, "vlanQoS": 3, "vlanProto": "802.1AD", "mac": "02-00-00-00-00-01",
           "spoofchk": "on", "trust": "off", "link_state": "enable", "min_tx_rate": 10, "max_tx_rate": 20, "mtu": 9000, "ipam": {"type": "static"},
           "runtimeConfig": {"mac": "02:00:00:00:00:02", "CNIDeviceInfoFile": "/x"}"#,
    )
    .unwrap();
    assert_eq!(conf.device.address, Some("0000:01:10.0".parse().unwrap()));
    assert_eq!(conf.device.info_file, Some("/x".into()));
    let vlan = conf.wanted.vlan.unwrap();
    assert_eq!(
        (vlan.id.get(), vlan.qos.get(), vlan.proto),
        (100, 3, VlanProto::Dot1ad)
    );
    assert_eq!(conf.wanted.mac, Some("02:00:00:00:00:02".parse().unwrap()));
    assert_eq!(
        (conf.wanted.spoofchk, conf.wanted.trust),
        (Some(true), Some(false))
    );
    assert_eq!(
        conf.wanted.rate(VfRate::default()),
        Some(VfRate { min: 10, max: 20 })
    );
    assert_eq!(
        (conf.wanted.mtu, conf.ipam.as_deref()),
        (Some(9000), Some("static"))
    );
}

#[test]
fn absent_setting_is_left_unchanged() {
    let conf = parse(r#""deviceID": "0000:01:10.0""#).unwrap();
    assert_eq!(conf.wanted, Wanted::default());
    let conf = parse(r#""max_tx_rate": 20"#).unwrap();
    assert_eq!(
        conf.wanted.rate(VfRate { min: 5, max: 7 }),
        Some(VfRate { min: 5, max: 20 })
    );
}

#[test]
fn mistakes_name_key_value_and_rule() {
    for (fields, path, value) in [
        (r#""vlan": 4095"#, "vlan", "4095"),
        (r#""vlan": "100""#, "vlan", "100"),
        (r#""vlanQoS": 3"#, "vlanQoS", "vlan"),
        (r#""vlanProto": "802.1ad""#, "vlanProto", "802.1ad"),
        (r#""vlan": 0, "vlanQoS": 3"#, "vlanQoS", "3"),
        (
            r#""vlan": 0, "vlanProto": "802.1ad""#,
            "vlanProto",
            "802.1ad",
        ),
        (r#""vlan": 1, "vlanProto": "802.1x""#, "vlanProto", "802.1x"),
        (r#""mac": "02:00:00:00:00""#, "mac", "02:00:00:00:00"),
        (r#""mac": "01:00:5e:00:00:01""#, "mac", "01:00:5e:00:00:01"),
        (r#""runtimeConfig": {"mac": "x"}"#, "runtimeConfig.mac", "x"),
        (r#""spoofchk": "yes""#, "spoofchk", "yes"),
        (r#""trust": true"#, "trust", "true"),
        (r#""link_state": "up""#, "link_state", "up"),
        (r#""min_tx_rate": -1"#, "min_tx_rate", "-1"),
        (
            r#""min_tx_rate": 30, "max_tx_rate": 20"#,
            "min_tx_rate",
            "30",
        ),
        (r#""deviceID": "01:10.0""#, "deviceID", "01:10.0"),
        (
            r#""deviceID": "0000:01:10.0", "runtimeConfig": {"deviceID": "0000:01:10.2"}"#,
            "runtimeConfig.deviceID",
            "0000:01:10.2",
        ),
        (r#""mtu": 10"#, "mtu", "10"),
        (
            r#""runtimeConfig": {"infinibandGUID": "02:00:00:00:00:07"}"#,
            "runtimeConfig.infinibandGUID",
            "02:00:00:00:00:07",
        ),
        (
            r#""runtimeConfig": {"infinibandGUID": "00:00:00:00:00:00:00:00"}"#,
            "runtimeConfig.infinibandGUID",
            "00:00:00:00:00:00:00:00",
        ),
    ] {
        let Err(NetConfError::Invalid(Mistakes(mistakes))) = parse(fields) else {
            panic!("{fields} is accepted")
        };
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].path, path);
        assert!(mistakes[0].message.contains(value), "{}", mistakes[0]);
    }
}

#[test]
fn defaults_without_a_vlan_are_accepted_and_ignored() {
    for fields in [
        r#""vlanQoS": 0"#,
        r#""vlanProto": "802.1q""#,
        r#""vlanQoS": 0, "vlanProto": "802.1Q""#,
        r#""vlanQoS": null, "vlanProto": """#,
        r#""vlan": null, "vlanQoS": 0"#,
        r#""ipam": null"#,
        r#""ipam": {}"#,
        r#""ipam": {"type": null}"#,
        r#""ipam": {"type": "", "routes": null, "gateway": ""}"#,
        r#""runtimeConfig": null, "dns": null, "prevResult": null"#,
    ] {
        let conf = parse(fields).unwrap();
        assert_eq!((conf.wanted.vlan, conf.ipam), (None, None), "{fields}");
    }
}

#[test]
fn plugin_is_not_its_own_ipam_plugin() {
    for (kind, ipam) in [
        ("sriov", "sriov"),
        ("my-sriov", "my-sriov"),
        ("my-sriov", "sriov"),
    ] {
        let stdin = format!(r#"{{"name": "n", "type": "{kind}", "ipam": {{"type": "{ipam}"}}}}"#);
        let Err(NetConfError::Invalid(Mistakes(mistakes))) = NetConf::parse(&stdin, None) else {
            panic!("{stdin} is accepted")
        };
        assert_eq!(mistakes[0].path, "ipam.type");
        assert_eq!(
            mistakes[0].message,
            format!("`{ipam}` is this plugin itself, not an IPAM plugin")
        );
        // Nor is it called to release an address.
        let (conf, mistakes) = NetConf::parse_for_release(&stdin).unwrap();
        assert_eq!((conf.ipam, mistakes.len()), (None, 1));
    }
}

#[test]
fn value_that_yaml_changed_is_explained() {
    for (fields, path, message) in [
        (
            r#""trust": true"#,
            "trust",
            "`true` is neither `on` nor `off`: YAML reads on and off without quotes as true and false",
        ),
        (
            r#""spoofchk": false"#,
            "spoofchk",
            "`false` is neither `on` nor `off`: YAML reads on and off without quotes as true and false",
        ),
        (
            r#""trust": "yes""#,
            "trust",
            "`yes` is neither `on` nor `off`",
        ),
        (
            r#""vlan": "100""#,
            "vlan",
            r#"`"100"` is not a whole number from 0 to 4094: write it without quotes"#,
        ),
        (
            r#""vlan": "all""#,
            "vlan",
            r#"`"all"` is not a whole number from 0 to 4094"#,
        ),
        (
            r#""mac": 190000000"#,
            "mac",
            "`190000000` is not a string: write it in quotes",
        ),
        (
            r#""deviceID": 610.0"#,
            "deviceID",
            "`610.0` is not a string: write it in quotes",
        ),
        (r#""mac": []"#, "mac", "`[]` is not a string"),
    ] {
        let Err(NetConfError::Invalid(Mistakes(mistakes))) = parse(fields) else {
            panic!("{fields} is accepted")
        };
        let found = (mistakes[0].path.as_str(), mistakes[0].message.as_str());
        assert_eq!(found, (path, message));
    }
}

#[test]
fn warnings_come_with_the_configuration() {
    let conf = parse(r#""minTxRate": 5"#).unwrap();
    assert_eq!(conf.warnings.len(), 1);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let error = NetConf::parse(
        r#"{"name": "/", "vlan": 5000, "mac": "x", "trust": "maybe"}"#,
        Some("MAC"),
    )
    .unwrap_err();
    let NetConfError::Invalid(Mistakes(mistakes)) = error else {
        panic!("{error}")
    };
    let paths: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.path.as_str())
        .collect();
    assert_eq!(paths, ["name", "CNI_ARGS", "mac", "vlan", "trust"]);
}

#[test]
fn mac_of_the_runtime_takes_precedence() {
    let args = Some("IgnoreUnknown=true;K8S_POD_NAME=p;MAC=02:00:00:00:00:03");
    let conf = |fields: &str| {
        NetConf::parse(&format!(r#"{{"name": "n", {fields}}}"#), args)
            .unwrap()
            .wanted
            .mac
            .unwrap()
            .to_string()
    };
    assert_eq!(conf(r#""mac": "02:00:00:00:00:01""#), "02:00:00:00:00:03");
    assert_eq!(
        conf(r#""runtimeConfig": {"mac": "02:00:00:00:00:02"}"#),
        "02:00:00:00:00:02"
    );
}

#[test]
fn unknown_arguments_are_refused_unless_ignored() {
    for (args, accepted) in [
        ("", true),
        ("K=v", false),
        ("K=v;IgnoreUnknown=1", true),
        ("IgnoreUnknown=x", false),
        ("MAC=a=b", false),
        ("IgnoreUnknown=1;", false),
    ] {
        assert_eq!(
            NetConf::parse(r#"{"name": "n"}"#, Some(args)).is_ok(),
            accepted,
            "{args}"
        );
    }
}

#[test]
fn unsupported_version_and_invalid_json_are_refused() {
    assert_eq!(
        NetConf::parse(r#"{"name": "n"}"#, None).unwrap().version,
        CniVersion::V0_1_0
    );
    assert!(matches!(
        NetConf::parse(r#"{"cniVersion": "2.0.0", "name": "n"}"#, None),
        Err(NetConfError::Version(_))
    ));
    for text in ["", "[]", "{", "null"] {
        assert!(
            matches!(NetConf::parse(text, None), Err(NetConfError::Decode(_))),
            "{text}"
        );
    }
}

#[test]
fn absent_attachments_are_not_an_empty_list() {
    assert_eq!(parse(r#""x": 1"#).unwrap().attachments, None);
    assert_eq!(
        parse(r#""cni.dev/valid-attachments": []"#)
            .unwrap()
            .attachments,
        Some(Vec::new())
    );
    let one = parse(r#""cni.dev/attachments": [{"containerID": "c", "ifname": "net1"}]"#)
        .unwrap()
        .attachments
        .unwrap();
    assert_eq!(
        one[0],
        LiveAttachment {
            container_id: "c".into(),
            ifname: "net1".into()
        }
    );
}

#[test]
fn unreadable_attachment_is_a_mistake() {
    for (listed, path) in [
        (
            r#"[{"containerID": "c"}]"#,
            "cni.dev/valid-attachments[0].ifname",
        ),
        (
            r#"[{"ifname": "c"}]"#,
            "cni.dev/valid-attachments[0].containerID",
        ),
        (r#"["c"]"#, "cni.dev/valid-attachments[0]"),
        ("{}", "cni.dev/valid-attachments"),
    ] {
        let stdin = format!(r#"{{"name": "n", "cni.dev/valid-attachments": {listed}}}"#);
        let Err(NetConfError::Invalid(Mistakes(mistakes))) = NetConf::parse_for_release(&stdin)
        else {
            panic!("{listed} is accepted")
        };
        assert_eq!(mistakes[0].path, path);
    }
    assert_eq!(
        parse(r#""cni.dev/attachments": null"#).unwrap().attachments,
        None
    );
}

#[test]
fn configuration_that_add_refuses_can_be_released() {
    let (conf, mistakes) =
        NetConf::parse_for_release(r#"{"name": "n", "vlan": 5000, "deviceID": "0000:01:10.0"}"#)
            .unwrap();
    assert_eq!(conf.device.address, Some("0000:01:10.0".parse().unwrap()));
    assert_eq!(mistakes.len(), 1);
    for stdin in [
        "",
        r#"{"name": "/"}"#,
        r#"{"cniVersion": "9.0.0", "name": "n"}"#,
    ] {
        assert!(NetConf::parse_for_release(stdin).is_err(), "{stdin}");
    }
}

#[test]
fn recipes_of_the_documentation_are_accepted() {
    let text = include_str!("../../../docs/cni.md");
    let blocks = text.split("```json\n").skip(1);
    let mut recipes = 0;
    for block in blocks.filter_map(|block| block.split("```").next()) {
        let network: Value = serde_json::from_str(block).unwrap();
        let plugins = network["plugins"].as_array().cloned();
        for plugin in plugins.unwrap_or_else(|| vec![network.clone()]) {
            if plugin["type"] != "sriov" {
                continue;
            }
            let mut conf = plugin.clone();
            conf["name"] = network["name"].clone();
            conf["cniVersion"] = network["cniVersion"].clone();
            NetConf::parse(&conf.to_string(), None).unwrap();
            recipes += 1;
        }
    }
    assert_eq!(recipes, 5);
}

#[test]
fn log_levels_of_the_go_plugin_are_read() {
    for (text, level) in [
        ("panic", LogLevel::Error),
        ("ERROR", LogLevel::Error),
        ("warning", LogLevel::Warning),
        ("debug", LogLevel::Debug),
        ("loud", LogLevel::Info),
    ] {
        let conf = parse(&format!(r#""logLevel": "{text}", "logFile": "/var/log/x""#)).unwrap();
        assert_eq!(
            (conf.log_level, conf.log_file.is_some()),
            (Some(level), true)
        );
    }
}

proptest! {
    #[test]
    fn never_panics(stdin in ".{0,64}", args in ".{0,32}") {
        let _ = NetConf::parse(&stdin, Some(&args));
    }

    #[test]
    fn any_value_in_any_field_is_read_or_refused(
        key in "vlan|vlanQoS|mac|runtimeConfig|ipam|deviceID|cni.dev/attachments|spoofchk|name|mtu",
        value in "null|-1|1|1.5|1e99|\"x\"|\\[\\]|\\[1\\]|\\{\\}|\\{\"mac\": 1\\}|true",
    ) {
        let _ = NetConf::parse(&format!(r#"{{"{key}": {value}}}"#), None);
    }
}
