//! Configurations as users write them, right and wrong.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(text: &str, expected: &Expect) {
    let lines = |word: &str, findings: &mut dyn Iterator<Item = &Finding>| {
        findings.fold(String::new(), |text, finding| {
            format!("{text}{word} {finding}\n")
        })
    };
    let answer = match ResourceList::parse(text, "intel.com") {
        Ok(list) => {
            let resources = list
                .resources
                .iter()
                .map(|resource| format!("{} {}\n", resource.name, resource.selectors.len()));
            resources.collect::<Vec<_>>().concat()
                + &lines("mistake", &mut list.mistakes())
                + &lines("warning", &mut list.warnings.iter())
        }
        Err(refused) => {
            "refused\n".to_owned()
                + &lines("mistake", &mut refused.mistakes.0.iter())
                + &lines("warning", &mut refused.warnings.iter())
        }
    };
    expected.assert_eq(&answer);
}

#[test]
fn each_form_of_selectors_is_read() {
    check(
        r#"{"resourceList": [
            {"resourceName": "a", "selectors": {"vendors": ["8086"], "rootDevices": ["0000:3b:00.1"], "IsRdma": false, "NeedVhostNet": false}, "SelectorObj": null},
            {"resourceName": "b", "resourcePrefix": "example.com", "selectors": [{"pfNames": ["pf0#0-3", "pf0#5"]}, {"drivers": ["vfio-pci"]}]}
        ]}"#,
        &expect![[r"
            intel.com/a 1
            example.com/b 2
        "]],
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    check(
        r#"{"resourceList": [
            {"resourceName": "a/b", "selectors": [{"vendors": ["0x8086", 5], "pfNames": ["pf0#3-1"], "pciAddresses": ["01:00.0"]}]},
            {"resourceName": "c", "deviceType": "gpu", "selectors": {}},
            {"resourceName": "d"},
            {"selectors": {"vdpaType": "vhost", "isRdma": true}}
        ]}"#,
        &expect![[r"
            refused
            mistake resourceList[0].resourceName at line 2 column 30: `a/b` is not a resource name: expected letters, digits, `-` and `_`, at most 63, with a letter or digit at both ends
            mistake resourceList[0].selectors[0].vendors[0] at line 2 column 64: `0x8086` is not a PCI id: expected four lower-case hexadecimal digits without `0x`
            mistake resourceList[0].selectors[0].vendors[1] at line 2 column 74: `5` is not a string: write it in quotes
            mistake resourceList[0].selectors[0].pfNames[0] at line 2 column 90: `pf0#3-1` is not a PF selector: the range `3-1` is reversed
            mistake resourceList[0].selectors[0].pciAddresses[0] at line 2 column 119: `01:00.0` is not a PCI address: expected `dddd:bb:dd.f` in hexadecimal, device at most 1f, function at most 7
            mistake resourceList[1].deviceType at line 3 column 49: `gpu` is not one of netDevice, accelerator, auxNetDevice
            mistake resourceList[2].selectors at line 4 column 13: there must be at least one selector: without one no device is selected
            mistake resourceList[3].resourceName at line 5 column 13: there must be a name
            mistake resourceList[3].selectors at line 5 column 27: isRdma and vdpaType exclude each other
        "]],
    );
}

#[test]
fn misspelt_key_and_empty_selector_are_warnings() {
    check(
        r#"{"resourceList": [{"resourceName": "a", "selectors": [{"pfName": ["pf0"]}]}]}"#,
        &expect![[r"
            intel.com/a 1
            warning resourceList[0].selectors[0] at line 1 column 55: this selector has no condition and matches every netDevice
            warning resourceList[0].selectors[0].pfName at line 1 column 66: unknown key, it has no effect: did you mean `pfNames`?
        "]],
    );
}

#[test]
fn invalid_json_is_refused_with_line_and_column() {
    check(
        "{\"resourceList\": [\n  {\"resourceName\": \"a\",}\n]}",
        &expect![[r"
            refused
            mistake document at line 2 column 24: not JSON: trailing comma
        "]],
    );
    check(
        "[]",
        &expect![[r"
            refused
            mistake document at line 1 column 1: `[]` is not an object
        "]],
    );
}

#[test]
fn two_resources_cannot_share_name_or_variable() {
    let resource = |prefix: &str, name: &str| {
        format!(
            r#"{{"resourceName": "{name}", "resourcePrefix": "{prefix}", "selectors": {{"drivers": ["x"]}}}}"#
        )
    };
    for (a, b, is_refused) in [
        (resource("a.b", "c"), resource("a.b", "c"), true),
        (resource("a.b", "c"), resource("a.b", "C"), true),
        (resource("a.b", "c"), resource("a", "b_c"), true),
        (resource("a.b", "c"), resource("a.b", "c_info"), true),
        (resource("a.b", "c_INFO"), resource("a.b", "c"), true),
        (resource("a.b", "c"), resource("a.c", "c"), false),
    ] {
        let text = format!(r#"{{"resourceList": [{a}, {b}]}}"#);
        let list = ResourceList::parse(&text, "intel.com").unwrap();
        assert_eq!(list.unusable.len() == 1, is_refused, "{text}");
        let mut paths = list.mistakes().map(|mistake| mistake.path.as_str());
        assert!(paths.all(|path| path == "resourceList[1].resourceName"));
    }
}

#[test]
fn resource_with_a_mistake_leaves_the_others_served() {
    check(
        r#"{"resourceList": [
            {"resourceName": "a", "selectors": {"vendors": "8086"}},
            {"resourceName": "b", "selectors": {"vendors": ["8086"]}},
            {"resourceName": "a", "selectors": {"vendors": ["8086"]}},
            {"resourceName": "c", "deviceType": "auxNetDevice", "selectors": {"pfNames": ["p0#1-5"]}},
            7
        ]}"#,
        &expect![[r#"
            intel.com/b 1
            mistake resourceList[0].selectors.vendors at line 2 column 60: `"8086"` is not a list of strings
            mistake resourceList[2].resourceName at line 4 column 30: another resource has the name `intel.com/a`
            mistake resourceList[3].selectors.auxTypes at line 5 column 78: an auxNetDevice resource needs `auxTypes` with the only kind, `sf`
            mistake resourceList[4] at line 6 column 13: `7` is not an object
        "#]],
    );
}

#[test]
fn mistakes_of_name_and_prefix_come_with_warnings() {
    check(
        r#"{"resourceList": [{"resourceName": "a b", "resourcePrefix": "X y", "selectors": {"pfName": ["pf0"]}}]}"#,
        &expect![[r"
            refused
            mistake resourceList[0].resourceName at line 1 column 36: `a b` is not a resource name: expected letters, digits, `-` and `_`, at most 63, with a letter or digit at both ends
            mistake resourceList[0].resourcePrefix at line 1 column 61: `X y` is not a prefix: expected a DNS subdomain, lower-case letters, digits, `-` and `.`, at most 244, not of `kubernetes.io` or `requests.`
            warning resourceList[0].selectors at line 1 column 81: this selector has no condition and matches every netDevice
            warning resourceList[0].selectors.pfName at line 1 column 92: unknown key, it has no effect: did you mean `pfNames`?
        "]],
    );
}

#[test]
fn mistake_in_additional_info_shows_no_value() {
    for info in [
        r#""secret""#,
        r#"{"*": "secret"}"#,
        r#"{"*": {"k": ["secret"]}}"#,
    ] {
        let text = format!(
            r#"{{"resourceList": [{{"resourceName": "a", "selectors": {{"drivers": ["x"]}}, "additionalInfo": {info}}}]}}"#
        );
        let mistakes = ResourceList::parse(&text, "x.y").unwrap_err();
        assert!(!mistakes.to_string().contains("secret"), "{mistakes}");
    }
}

#[test]
fn additional_info_normalises_addresses() {
    let text = r#"{"resourceList": [{"resourceName": "a", "selectors": {"drivers": ["x"]}, "additionalInfo":
        {"*": null, "0000:3B:0A.1": {"k": "upper", "null": null}, "0000:3b:0a.1": {"port": "0"}, "mlx5_core.sf.4": {"k": "sf"}}}]}"#;
    let list = ResourceList::parse(text, "x.y").unwrap();
    expect![[r#"{"0000:3b:0a.1": {"k": "upper", "port": "0"}, "mlx5_core.sf.4": {"k": "sf"}}"#]]
        .assert_eq(&format!("{:?}", list.resources[0].additional_info));
}

#[test]
fn condition_without_effect_is_a_warning() {
    check(
        r#"{"resourceList": [
            {"resourceName": "a", "deviceType": "accelerator", "additionalInfo": {"*": {"k": "v"}, "mlx5_core.sf.4": {}, "01:00.0": {}},
             "selectors": {"vendors": ["8086"], "pfNames": ["pf0"], "isRdma": null}},
            {"resourceName": "b", "selectors": {"linkTypes": ["ether", "ethernet"], "pKeys": ["0x1", "0xABCD"], "PKEYS": ["0x8001"]}}
        ]}"#,
        &expect![[r"
            intel.com/a 1
            intel.com/b 1
            warning resourceList[0].additionalInfo.01:00.0 at line 2 column 133: this is neither `*` nor a PCI address nor an auxiliary device, it has no effect
            warning resourceList[0].selectors.pfNames at line 3 column 60: it has no effect for accelerator
            warning resourceList[1].selectors.linkTypes[1] at line 4 column 72: no device has the link type `ethernet`: there are ether, infiniband
            warning resourceList[1].selectors.PKEYS at line 4 column 122: this key is repeated, the last one applies
        "]],
    );
}

#[test]
fn empty_list_is_a_warning() {
    for text in [
        r#"{"resourceList": []}"#,
        r#"{"resourceList": null}"#,
        "null",
        "",
        " \n",
    ] {
        let list = ResourceList::parse(text, "x.y").unwrap();
        assert!(
            list.resources.is_empty() && list.unusable.is_empty(),
            "{text}"
        );
        let [warning] = list.warnings.as_slice() else {
            panic!("{text}: {:?}", list.warnings)
        };
        assert_eq!(
            warning.message,
            "there is no resource: no device is advertised"
        );
    }
    // An absent key may be misspelt: the advertised devices must stay.
    check(
        r#"{"resourcelst": []}"#,
        &expect![[r"
            refused
            mistake resourceList at line 1 column 1: there must be a list of resources
            warning resourcelst at line 1 column 17: unknown key, it has no effect: did you mean `resourceList`?
        "]],
    );
    check(
        r#"{"resourceList": {}}"#,
        &expect![[r"
            refused
            mistake resourceList at line 1 column 18: `{}` is not a list
        "]],
    );
}

#[test]
fn key_at_another_level_is_told_where_it_belongs() {
    check(
        r#"{"resourceName": "x", "resourceList": [
            {"resourceName": "a", "rootDevices": ["0000:01:00.0"], "isRdma": true, "selectors": {"drivers": ["igbvf"], "excludeTopology": true, "ResourcePrefix": "a.b"}}
        ]}"#,
        &expect![[r"
            intel.com/a 1
            warning resourceName at line 1 column 18: it has no effect here: it belongs into an entry of `resourceList`
            warning resourceList[0].rootDevices at line 2 column 50: it has no effect here: it belongs into `selectors`
            warning resourceList[0].isRdma at line 2 column 78: it has no effect here: it belongs into `selectors`
            warning resourceList[0].selectors.excludeTopology at line 2 column 139: it has no effect here: it belongs into the resource, next to `selectors`
            warning resourceList[0].selectors.ResourcePrefix at line 2 column 163: it has no effect here: it belongs into the resource, next to `selectors`
        "]],
    );
}

#[test]
fn condition_that_no_device_meets_is_a_warning() {
    check(
        r#"{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["pf0", "mlx-*#0-3"], "drivers": ["vfio_pci"]}}]}"#,
        &expect![[r"
            intel.com/a 1
            warning resourceList[0].selectors.pfNames[1] at line 1 column 74: no PF has the name `mlx-*`: names are compared as they are, without patterns
            warning resourceList[0].selectors.drivers[0] at line 1 column 100: no PCI device has the driver `vfio_pci`: did you mean `vfio-pci`?
        "]],
    );
}

/// A document of nearly valid keys and values, with some mistakes.
fn any_document() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("resourceName"),
        Just("resourcePrefix"),
        Just("DeviceType"),
        Just("selectors"),
        Just("additionalInfo"),
        Just("excludeTopology"),
        Just("allocationPolicy"),
        Just("vendors"),
        Just("pciAddresses"),
        Just("pfNames"),
        Just("ROOTDEVICES"),
        Just("auxTypes"),
        Just("isRdma"),
        Just("vdpaType"),
        Just("linkTypes"),
        Just("pKeys"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(5)),
        Just(json!("a")),
        Just(json!("auxNetDevice")),
        Just(json!("vhost")),
        Just(json!(["8086"])),
        Just(json!(["pf0#3-1", 4])),
        Just(json!({"*": {"k": 1}})),
    ];
    let object = prop::collection::vec((key, leaf.clone()), 0..6).prop_map(|pairs| {
        Value::Object(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    });
    let value = prop_oneof![
        leaf,
        object.clone(),
        prop::collection::vec(object, 0..3).prop_map(Value::from)
    ];
    let key = prop_oneof![
        Just("resourceName"),
        Just("selectors"),
        Just("Selectors"),
        Just("deviceType"),
        Just("additionalInfo")
    ];
    let resource = prop::collection::vec((key, value), 0..5).prop_map(|pairs| {
        Value::Object(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    });
    prop::collection::vec(resource, 0..4).prop_map(|resources| {
        serde_json::to_string_pretty(&json!({ "resourceList": resources })).unwrap()
    })
}

/// Whether the document has the value at the path, or the object that lacks it.
fn exists(document: &Value, path: &str) -> bool {
    let mut here = document;
    for (position, step) in path.split('.').enumerate() {
        let (key, indices) = step
            .split_once('[')
            .map_or((step, ""), |(key, rest)| (key, rest));
        let is_last = position + 1 == path.split('.').count();
        match here.get(key) {
            Some(value) => here = value,
            None => return is_last && indices.is_empty() && here.is_object(),
        }
        for index in indices.split(['[', ']']).filter(|index| !index.is_empty()) {
            match here.get(index.parse::<usize>().unwrap()) {
                Some(value) => here = value,
                None => return false,
            }
        }
    }
    true
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,64}") {
        let _ = ResourceList::parse(&text, "intel.com");
    }

    #[test]
    fn never_panics_on_torn_documents(text in any_document(), cut: prop::sample::Index) {
        let cut = cut.index(text.len() + 1);
        let _ = ResourceList::parse(text.get(..cut).unwrap_or_default(), "intel.com");
    }

    #[test]
    fn each_mistake_and_warning_names_a_path_that_exists(text in any_document()) {
        let document: Value = serde_json::from_str(&text).unwrap();
        let findings: Vec<Finding> = match ResourceList::parse(&text, "intel.com") {
            Ok(list) => list.mistakes().chain(&list.warnings).cloned().collect(),
            Err(Refused { mistakes, warnings }) => {
                prop_assert!(!mistakes.0.is_empty());
                mistakes.0.into_iter().chain(warnings).collect()
            }
        };
        for finding in findings {
            prop_assert!(exists(&document, &finding.path), "{} {}", finding, text);
            prop_assert!(finding.position.is_some());
        }
    }

    #[test]
    fn each_resource_is_read_or_has_mistakes(text in any_document()) {
        let document: Value = serde_json::from_str(&text).unwrap();
        if let Ok(list) = ResourceList::parse(&text, "intel.com") {
            let count = document["resourceList"].as_array().unwrap().len();
            prop_assert_eq!(list.resources.len() + list.unusable.len(), count);
            prop_assert!(list.unusable.iter().all(|resource| !resource.mistakes.0.is_empty()));
        }
    }
}

#[test]
fn name_for_dra_fits_into_an_attribute() {
    let parse = |name: &str, publish: &str| {
        let text = format!(
            r#"{{"resourceList": [{{"resourceName": "{name}", "publish": "{publish}", "selectors": {{"drivers": ["a"]}}}}]}}"#
        );
        let prefix = "a".repeat(30);
        ResourceList::parse(&text, &prefix).map_err(|refused| refused.mistakes.to_string())
    };
    let (fitting, long) = ("n".repeat(33), "n".repeat(34));
    assert_eq!(
        parse(&fitting, "dra").unwrap().resources[0].publish,
        Publish::Dra
    );
    assert!(parse(&long, "devicePlugin").is_ok());
    let refused = parse(&long, "dra").unwrap_err();
    assert!(
        refused.contains("at most 64 bytes") && refused.contains("these have 65"),
        "{refused}"
    );
    let refused = parse("a", "kubelet").unwrap_err();
    assert!(
        refused.contains("`kubelet` is not one of devicePlugin, dra"),
        "{refused}"
    );
}
