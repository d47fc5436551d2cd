//! All keys of the resource list with their kinds of value, for the parser and for the JSON Schema.

use serde_json::{Value, json};

use super::DeviceType;
use super::DeviceType::{Accelerator, AuxNetDevice, NetDevice};
use crate::fields::{Hint, nearest_within};

/// A key of an object.
pub(super) struct Key {
    pub(super) name: &'static str,
    kind: Kind,
    about: &'static str,
    /// Device types for which the key has an effect.
    of: &'static [DeviceType],
}

/// Kind of value of a key.
enum Kind {
    Text,
    Texts,
    Flag,
    OneOf(&'static [&'static str]),
    Ref(&'static str),
    /// Any value; it has no effect.
    Any,
}

const ALL: &[DeviceType] = &[NetDevice, Accelerator, AuxNetDevice];
const NET: &[DeviceType] = &[NetDevice, AuxNetDevice];

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        about,
        of: ALL,
    }
}

impl Key {
    const fn only(self, of: &'static [DeviceType]) -> Self {
        Self { of, ..self }
    }
}

/// Keys of the document.
pub(super) const TOP: &[Key] = &[key(
    "resourceList",
    Kind::Ref("resources"),
    "The resources; a device belongs to the first resource that it matches.",
)];

/// Keys of a resource.
pub(super) const RESOURCE: &[Key] = &[
    key(
        "resourceName",
        Kind::Text,
        "Name without prefix: letters, digits, `-` and `_`, at most 63.",
    ),
    key(
        "resourcePrefix",
        Kind::Text,
        "Prefix, replaces --resource-prefix: a DNS subdomain.",
    ),
    key(
        "deviceType",
        Kind::OneOf(&["netDevice", "accelerator", "auxNetDevice"]),
        "Kind of device, netDevice when absent.",
    ),
    key(
        "excludeTopology",
        Kind::Flag,
        "Whether NUMA nodes are withheld from the kubelet.",
    ),
    key(
        "allocationPolicy",
        Kind::OneOf(&["packed", "spread", "distinct-pf"]),
        "Which devices a container is preferably given, after those of one NUMA node; packed when absent.",
    ),
    key(
        "pfHealth",
        Kind::OneOf(&["carrier", "up", "ignore"]),
        "Condition of the PF for a healthy VF: carrier (when absent), up, or none.",
    )
    .only(NET),
    key(
        "publish",
        Kind::OneOf(&["devicePlugin", "dra"]),
        "Through which program pods get the devices: sriov-device-plugin (when absent) or sriov-dra-driver.",
    ),
    key(
        "pciClasses",
        Kind::Texts,
        "PCI classes, replace 02 (netDevice) and 12 (accelerator): two, four or six lower-case hexadecimal digits.",
    )
    .only(&[NetDevice, Accelerator]),
    key(
        "selectors",
        Kind::Ref("selectors"),
        "A selector or a list of selectors; a device is selected if one matches.",
    ),
    key(
        "selectorObj",
        Kind::Any,
        "Written by older sriov-network-operators, without effect.",
    ),
    key(
        "selectorObjs",
        Kind::Any,
        "Written by sriov-network-operator, without effect.",
    ),
    key(
        "additionalInfo",
        Kind::Ref("additionalInfo"),
        "Texts for the environment, by PCI address, name of a subfunction or `*`.",
    ),
];

/// Keys of a selector.
pub(super) const SELECTOR: &[Key] = &[
    key(
        "vendors",
        Kind::Texts,
        "PCI vendor ids: four lower-case hexadecimal digits.",
    ),
    key(
        "devices",
        Kind::Texts,
        "PCI device ids: four lower-case hexadecimal digits.",
    ),
    key("drivers", Kind::Texts, "Names of the bound driver."),
    key(
        "pciAddresses",
        Kind::Texts,
        "PCI addresses with domain: `0000:01:10.0`.",
    ),
    key(
        "acpiIndexes",
        Kind::Texts,
        "ACPI indices as sysfs `acpi_index` gives them.",
    ),
    key(
        "pfNames",
        Kind::Texts,
        "PFs by name, with or without VFs: `pf0`, `pf0#2`, `pf0#0-3,7`; entries for one PF add up.",
    )
    .only(NET),
    key(
        "rootDevices",
        Kind::Texts,
        "PFs by PCI address, with or without VFs: `0000:01:00.0#0-3`.",
    )
    .only(NET),
    key("linkTypes", Kind::Texts, "`ether` or `infiniband`.").only(NET),
    key("ddpProfiles", Kind::Texts, "Names of the DDP package.").only(&[NetDevice]),
    key(
        "pKeys",
        Kind::Texts,
        "InfiniBand partition keys in hexadecimal: `0x8001`.",
    )
    .only(&[NetDevice]),
    key(
        "auxTypes",
        Kind::Texts,
        "Kinds of auxiliary device: only `sf`; required for auxNetDevice.",
    )
    .only(&[AuxNetDevice]),
    key(
        "isRdma",
        Kind::Flag,
        "Only devices with RDMA, whose character devices the pod gets.",
    )
    .only(NET),
    key(
        "needVhostNet",
        Kind::Flag,
        "Whether the pod gets /dev/vhost-net and /dev/net/tun.",
    )
    .only(NET),
    key(
        "vdpaType",
        Kind::OneOf(&["virtio", "vhost"]),
        "Only devices with this kind of vDPA.",
    )
    .only(&[NetDevice]),
];

/// Names of the keys.
pub(super) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

/// The hint for an unknown key of the document.
pub(super) fn hint_top(key: &str) -> Hint {
    if has(RESOURCE, key) {
        return Hint::Elsewhere("an entry of `resourceList`");
    }
    if has(SELECTOR, key) {
        return Hint::Elsewhere("`selectors` of an entry of `resourceList`");
    }
    nearest(key, TOP)
}

/// The hint for an unknown key of a resource.
pub(super) fn hint_resource(key: &str) -> Hint {
    if has(SELECTOR, key) {
        return Hint::Elsewhere("`selectors`");
    }
    nearest(key, RESOURCE)
}

/// The hint for an unknown key of a selector.
pub(super) fn hint_selector(key: &str) -> Hint {
    if has(RESOURCE, key) {
        return Hint::Elsewhere("the resource, next to `selectors`");
    }
    nearest(key, SELECTOR)
}

fn has(keys: &[Key], name: &str) -> bool {
    keys.iter().any(|key| key.name.eq_ignore_ascii_case(name))
}

fn nearest(key: &str, keys: &[Key]) -> Hint {
    const MOST: usize = 3;
    nearest_within(key, &names(keys), MOST).map_or(Hint::None, Hint::Nearest)
}

/// Names of the keys of a selector that have no effect for a device type.
pub(super) fn idle(device_type: DeviceType) -> impl Iterator<Item = &'static str> {
    let idle = SELECTOR.iter();
    idle.filter(move |key| !key.of.contains(&device_type))
        .map(|key| key.name)
}

/// The JSON Schema (draft 2020-12) of a resource list, as `docs/resource-list.schema.json` has it.
///
/// It has the usual spelling of each key; the parser accepts keys in any case, and warns of unknown keys.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Resource list of sriov-device-plugin",
        "type": "object",
        "required": ["resourceList"],
        "properties": properties(TOP),
        "$defs": {
            "resources": { "type": ["array", "null"], "items": { "$ref": "#/$defs/resource" } },
            "resource": { "type": "object", "required": ["resourceName", "selectors"], "properties": properties(RESOURCE) },
            "selectors": { "anyOf": [
                { "$ref": "#/$defs/selector" },
                { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/selector" } },
            ] },
            "selector": { "type": "object", "properties": properties(SELECTOR) },
            "additionalInfo": {
                "type": ["object", "null"],
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": { "type": ["string", "null"] },
                },
            },
        },
    })
}

fn properties(keys: &[Key]) -> Value {
    let property = |key: &Key| {
        let mut about = key.about.to_owned();
        if key.of.len() < ALL.len() {
            let of: Vec<String> = key.of.iter().map(ToString::to_string).collect();
            about = format!("{about} Only for {}.", of.join(" and "));
        }
        let mut schema = match key.kind {
            Kind::Text => json!({ "type": ["string", "null"] }),
            Kind::Texts => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
            Kind::Flag => json!({ "type": ["boolean", "null"] }),
            Kind::OneOf(texts) => {
                let texts = texts.iter().map(|text| json!(text));
                json!({ "enum": texts.chain([json!(""), Value::Null]).collect::<Vec<_>>() })
            }
            Kind::Ref(name) => json!({ "$ref": format!("#/$defs/{name}") }),
            Kind::Any => json!({}),
        };
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), about.into());
        }
        (key.name.to_owned(), schema)
    };
    Value::Object(keys.iter().map(property).collect())
}

#[cfg(test)]
mod tests;
