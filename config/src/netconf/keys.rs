//! Keys of a network configuration, and warnings for those that look like one of them or belong to another plugin.
//!
//! Unknown keys are normal in a chain of plugins; only what somebody probably meant for this plugin is worth a warning.

use crate::fields::{Fields, Findings, Hint, nearest_within};

/// Keys that this plugin reads.
const OURS: &[&str] = &[
    "cniVersion",
    "name",
    "type",
    "ipam",
    "ipamTimeout",
    "dns",
    "prevResult",
    "runtimeConfig",
    "deviceID",
    "pciBusID",
    "vlan",
    "vlanQoS",
    "vlanProto",
    "mac",
    "spoofchk",
    "trust",
    "link_state",
    "min_tx_rate",
    "max_tx_rate",
    "mtu",
];
/// Keys that this plugin reads, but never suggests in place of an unknown key.
const COMMON: &[&str] = &["logFile", "logLevel", "claim", "request"];
/// Keys of the CNI specification, of the runtime and of Multus.
const OTHERS: &[&str] = &[
    "capabilities",
    "args",
    "plugins",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "ipMasq",
    "resourceName",
    "cni.dev/attachments",
    "cni.dev/valid-attachments",
    "comment",
];
/// Keys of other plugins for VFs, with the alternative.
const FOREIGN: &[(&str, &str)] = &[
    ("vlan_trunk", TRUNK),
    ("vlanTrunk", TRUNK),
    ("trunk", TRUNK),
    (
        "pkey",
        "partition keys are chosen with the selector `pKeys` of the device plugin",
    ),
    (
        "rdmaIsolation",
        "RDMA devices are moved by the plugin `rdma` in the same chain",
    ),
    (
        "ibKubernetesEnabled",
        "GUIDs come by `runtimeConfig.infinibandGUID`",
    ),
    (
        "bridge",
        "VFs in switchdev mode are not attached to bridges",
    ),
    ("dpdkMode", "the driver of the VF decides how a pod uses it"),
];
const TRUNK: &str = "a VF has one VLAN, `vlan`; without it the pod may send tagged frames";
/// Keys that are read in `runtimeConfig` only.
const RUNTIME: &[&str] = &["infinibandGUID", "CNIDeviceInfoFile"];

/// Warns of keys without effect that were probably meant for this plugin.
pub(super) fn warn(fields: &Fields<'_>, findings: &mut Findings) {
    let known: Vec<&str> = [OURS, COMMON, OTHERS].concat();
    fields.warn_unknown(&known, hint, findings);
}

fn hint(key: &str) -> Hint {
    let is = |other: &str| other.eq_ignore_ascii_case(key);
    if RUNTIME.iter().any(|other| is(other)) {
        return Hint::Elsewhere("`runtimeConfig`");
    }
    if let Some((_, instead)) = FOREIGN.iter().find(|(other, _)| is(other)) {
        return Hint::Instead(instead);
    }
    // One edit turns a short key into another word.
    match nearest_within(key, OURS, 2.min(key.len() / 3)) {
        Some(known) => Hint::Nearest(known),
        None => Hint::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(text: &str) -> Vec<String> {
        let value = serde_json::from_str(text).unwrap();
        let mut findings = Findings::default();
        let fields = Fields::of(&value, "", &mut findings).unwrap();
        warn(&fields, &mut findings);
        findings.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn key_that_means_something_else_is_a_warning() {
        for (key, message) in [
            (
                "minTxRate",
                "unknown key, it has no effect: did you mean `min_tx_rate`?",
            ),
            (
                "max-tx-rate",
                "unknown key, it has no effect: did you mean `max_tx_rate`?",
            ),
            (
                "linkState",
                "unknown key, it has no effect: did you mean `link_state`?",
            ),
            (
                "spoofcheck",
                "unknown key, it has no effect: did you mean `spoofchk`?",
            ),
            (
                "vlan_qos",
                "unknown key, it has no effect: did you mean `vlanQoS`?",
            ),
            (
                "vlanId",
                "unknown key, it has no effect: did you mean `vlan`?",
            ),
            (
                "deviceid2",
                "unknown key, it has no effect: did you mean `deviceID`?",
            ),
            (
                "vlan_trunk",
                "unknown key, it has no effect: a VF has one VLAN, `vlan`; without it the pod may send tagged frames",
            ),
            (
                "pkey",
                "unknown key, it has no effect: partition keys are chosen with the selector `pKeys` of the device plugin",
            ),
            (
                "rdmaIsolation",
                "unknown key, it has no effect: RDMA devices are moved by the plugin `rdma` in the same chain",
            ),
            (
                "infinibandGUID",
                "it has no effect here: it belongs into `runtimeConfig`",
            ),
        ] {
            let warnings = warnings(&format!(r#"{{"{key}": "1"}}"#));
            assert_eq!(warnings, [format!("{key}: {message}")]);
        }
    }

    #[test]
    fn keys_of_the_specification_and_of_others_are_no_warning() {
        let text = r#"{"capabilities": {"mac": true}, "args": {"cni": {}}, "resourceName": "a/b", "disableCheck": true, "disableGC": true, "ipMasq": false,
           "cniVersions": [], "loadOnlyInlinedPlugins": true, "cni.dev/attachments": [], "DeviceID": "0000:01:10.0", "LOGLEVEL": "debug", "comment": "x"}"#;
        assert!(warnings(text).is_empty());
    }
}
