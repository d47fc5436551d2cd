//! Configurations as users write them, right and wrong.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &Expect) {
    let answer = match ResourceList::parse(text, "intel.com") {
        Ok(list) => {
            let resources = list
                .resources
                .iter()
                .map(|resource| format!("{} {}\n", resource.name, resource.selectors.len()));
            let warnings = list
                .warnings
                .iter()
                .map(|warning| format!("warning {warning}\n"));
            resources.chain(warnings).collect::<Vec<_>>().concat()
        }
        Err(Mistakes(findings)) => findings
            .iter()
            .map(|finding| format!("mistake {finding}\n"))
            .collect::<Vec<_>>()
            .concat(),
    };
    expected.assert_eq(&answer);
}

#[test]
fn object_and_list_of_selectors_and_the_operators_form() {
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
fn all_mistakes_are_told_at_once() {
    check(
        r#"{"resourceList": [
            {"resourceName": "a/b", "selectors": [{"vendors": ["0x8086", 5], "pfNames": ["pf0#3-1"], "pciAddresses": ["01:00.0"]}]},
            {"resourceName": "c", "deviceType": "gpu", "selectors": {}},
            {"resourceName": "d"},
            {"selectors": {"vdpaType": "vhost", "isRdma": true}}
        ]}"#,
        &expect![[r"
            mistake resourceList[0].resourceName: `a/b` is not a resource name: expected letters, digits, `-` and `_`, at most 63, with a letter or digit at both ends
            mistake resourceList[0].selectors[0].vendors[1]: `5` is not a string
            mistake resourceList[0].selectors[0].vendors[0]: `0x8086` is not a PCI id: expected four lower-case hexadecimal digits without `0x`
            mistake resourceList[0].selectors[0].pciAddresses[0]: `01:00.0` is not a PCI address: expected `dddd:bb:dd.f` in hexadecimal, device at most 1f, function at most 7
            mistake resourceList[0].selectors[0].pfNames[0]: `pf0#3-1` is not a PF selector: the range `3-1` is reversed
            mistake resourceList[1].deviceType: `gpu` is not one of netDevice, accelerator, auxNetDevice
            mistake resourceList[2].selectors: there must be at least one selector: without one no device is meant
            mistake resourceList[3].resourceName: there must be a name
            mistake resourceList[3].selectors: isRdma and vdpaType exclude each other
        "]],
    );
}

#[test]
fn a_misspelt_key_and_an_empty_selector_are_warnings() {
    check(
        r#"{"resourceList": [{"resourceName": "a", "selectors": [{"pfName": ["pf0"]}]}]}"#,
        &expect![[r"
            intel.com/a 1
            warning resourceList[0].selectors[0].pfName: unknown key, it has no effect: did you mean `pfNames`?
            warning resourceList[0].selectors[0]: this selector has no condition and matches every device
        "]],
    );
}

#[test]
fn text_that_is_not_json_is_refused_with_line_and_column() {
    check(
        "{\"resourceList\": [\n  {\"resourceName\": \"a\",}\n]}",
        &expect![[r"
            mistake document: not JSON: trailing comma at line 2 column 24
        "]],
    );
    check(
        "[]",
        &expect![[r"
        mistake document: `[]` is not an object
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
    let two = |a: String, b: String| format!(r#"{{"resourceList": [{a}, {b}]}}"#);
    for (a, b) in [
        (resource("a.b", "c"), resource("a.b", "c")),
        (resource("a.b", "c"), resource("a.b", "C")),
    ] {
        assert!(ResourceList::parse(&two(a, b), "intel.com").is_err());
    }
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,64}") {
        let _ = ResourceList::parse(&text, "intel.com");
    }

    #[test]
    fn any_value_in_any_field_is_read_or_refused(key in "resourceName|deviceType|selectors|additionalInfo", value in "null|1|\"x\"|\\[\\]|\\[1\\]|\\{\\}|\\{\"vendors\": 1\\}|\\[null\\]") {
        let _ = ResourceList::parse(&format!(r#"{{"resourceList": [{{"{key}": {value}}}]}}"#), "intel.com");
    }
}
