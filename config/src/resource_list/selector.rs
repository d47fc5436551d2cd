//! One selector: all of its fields must match, and one entry of each list; an absent field matches everything.

use std::fmt;

use serde_json::{Value, json};
use sriov_host::PciAddress;

use super::{DeviceType, keys, unmatchable};
use crate::fields::{Fields, Findings};
use crate::pf_selector::PfSelector;

/// A selector of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Vendor ids, four lower-case hexadecimal digits.
    pub vendors: Vec<String>,
    /// Device ids, four lower-case hexadecimal digits.
    pub devices: Vec<String>,
    /// Drivers.
    pub drivers: Vec<String>,
    /// PCI addresses.
    pub pci_addresses: Vec<PciAddress>,
    /// ACPI indices.
    pub acpi_indexes: Vec<String>,
    /// Conditions for network devices only; empty for accelerators.
    pub net: NetSelector,
}

/// Conditions for network devices only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetSelector {
    /// PFs by name; several entries for one PF add up.
    pub pf_names: Vec<PfSelector<String>>,
    /// PFs by PCI address.
    pub root_devices: Vec<PfSelector<PciAddress>>,
    /// Link types: `ether`, `infiniband`.
    pub link_types: Vec<String>,
    /// DDP profiles.
    pub ddp_profiles: Vec<String>,
    /// InfiniBand partition keys.
    pub pkeys: Vec<String>,
    /// Kinds of auxiliary device; only `sf`.
    pub aux_types: Vec<String>,
    /// Only devices with RDMA; the pod is given their character devices.
    pub is_rdma: bool,
    /// Whether the pod is given `/dev/vhost-net` and `/dev/net/tun`.
    pub need_vhost_net: bool,
    /// Only devices with this kind of vDPA.
    pub vdpa_type: Option<VdpaType>,
}

/// Kind of vDPA device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VdpaType {
    /// Bound to `virtio_vdpa`.
    Virtio,
    /// Bound to `vhost_vdpa`.
    Vhost,
}

impl fmt::Display for VdpaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Virtio => "virtio",
            Self::Vhost => "vhost",
        })
    }
}

/// Link types that the kernel gives to PCI network devices.
const LINK_TYPES: &[&str] = &["ether", "infiniband"];

impl Selector {
    pub(super) fn read(
        fields: &Fields<'_>,
        device_type: DeviceType,
        path: &str,
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.mistakes.len();
        fields.warn_unknown(&keys::names(keys::SELECTOR), keys::hint_selector, findings);
        for key in keys::idle(device_type) {
            let said = |value: &Value| {
                !matches!(value, Value::Bool(false)) && value != "" && value != &json!([])
            };
            if fields.value(key).is_some_and(said) {
                findings.warning(
                    &fields.path(key),
                    format!("it has no effect for {device_type}"),
                );
            }
        }
        let is_net = device_type != DeviceType::Accelerator;
        let selector = Self {
            vendors: ids(fields, "vendors", findings),
            devices: ids(fields, "devices", findings),
            drivers: drivers(fields, findings),
            pci_addresses: fields.all_parsed("pciAddresses", findings),
            acpi_indexes: strings(fields, "acpiIndexes", findings),
            net: if is_net {
                NetSelector::read(fields, device_type, findings)
            } else {
                NetSelector::default()
            },
        };
        if device_type == DeviceType::AuxNetDevice
            && (selector.net.aux_types.is_empty()
                || selector.net.aux_types.iter().any(|kind| kind != "sf"))
        {
            findings.mistake(
                &fields.path("auxTypes"),
                "an auxNetDevice resource needs `auxTypes` with the only kind, `sf`",
            );
        }
        if selector.net.is_rdma && selector.net.vdpa_type.is_some() {
            findings.mistake(path, "isRdma and vdpaType exclude each other");
        }
        let is_right = findings.mistakes.len() == before;
        if is_right && selector.is_empty() {
            findings.warning(
                path,
                format!("this selector has no condition and matches every {device_type}"),
            );
        }
        is_right.then_some(selector)
    }

    /// Whether the selector has no condition and matches everything; `needVhostNet` is not a condition.
    pub fn is_empty(&self) -> bool {
        let mut conditions = self.clone();
        conditions.net.need_vhost_net = false;
        conditions == Self::default()
    }
}

impl NetSelector {
    fn read(fields: &Fields<'_>, device_type: DeviceType, findings: &mut Findings) -> Self {
        let common = Self {
            pf_names: pf_names(fields, findings),
            root_devices: fields.all_parsed("rootDevices", findings),
            link_types: link_types(fields, findings),
            is_rdma: fields.flag("isRdma", findings),
            need_vhost_net: fields.flag("needVhostNet", findings),
            ..Self::default()
        };
        if device_type == DeviceType::AuxNetDevice {
            return Self {
                aux_types: strings(fields, "auxTypes", findings),
                ..common
            };
        }
        Self {
            ddp_profiles: strings(fields, "ddpProfiles", findings),
            pkeys: pkeys(fields, findings),
            vdpa_type: vdpa_type(fields, findings),
            ..common
        }
    }
}

fn vdpa_type(fields: &Fields<'_>, findings: &mut Findings) -> Option<VdpaType> {
    let words = [
        ("virtio", Some(VdpaType::Virtio)),
        ("vhost", Some(VdpaType::Vhost)),
    ];
    fields.choice("vdpaType", None, &words, findings)?
}

fn pf_names(fields: &Fields<'_>, findings: &mut Findings) -> Vec<PfSelector<String>> {
    for (path, text) in fields.texts("pfNames", &mut Findings::default()) {
        let parsed = text.parse::<PfSelector<String>>().ok();
        if let Some(warning) = parsed.and_then(|selector| unmatchable::pf_name(&selector.pf)) {
            findings.warning(&path, warning);
        }
    }
    fields.all_parsed("pfNames", findings)
}

fn drivers(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let drivers = fields.texts("drivers", findings);
    let all: Vec<&str> = drivers.iter().map(|(_, driver)| *driver).collect();
    for (path, driver) in &drivers {
        if let Some(warning) = unmatchable::driver(driver, &all) {
            findings.warning(path, warning);
        }
    }
    drivers
        .into_iter()
        .map(|(_, text)| text.to_owned())
        .collect()
}

fn link_types(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let mut link_types = Vec::new();
    for (path, text) in fields.texts("linkTypes", findings) {
        if !LINK_TYPES.contains(&text) {
            let known = LINK_TYPES.join(", ");
            findings.warning(
                &path,
                format!("no device has the link type `{text}`: there are {known}"),
            );
        }
        link_types.push(text.to_owned());
    }
    link_types
}

/// Reads partition keys, as the kernel prints them: `0x` and four digits (drivers/infiniband/core/sysfs.c, `show_port_pkey`).
fn pkeys(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let mut pkeys = Vec::new();
    for (path, text) in fields.texts("pKeys", findings) {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(pkey) => pkeys.push(format!("{pkey:#06x}")),
            None => findings.mistake(
                &path,
                format!("`{text}` is not a partition key: expected `0x` and at most four hexadecimal digits"),
            ),
        }
    }
    pkeys
}

fn strings(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Vec<String> {
    fields
        .texts(key, findings)
        .into_iter()
        .map(|(_, text)| text.to_owned())
        .collect()
}

/// Reads PCI ids; the kernel prints four lower-case digits without `0x`, and other texts would never match.
fn ids(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Vec<String> {
    let mut ids = Vec::new();
    for (path, text) in fields.texts(key, findings) {
        let is_id = text.len() == 4
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if is_id {
            ids.push(text.to_owned());
        } else {
            findings.mistake(&path, format!("`{text}` is not a PCI id: expected four lower-case hexadecimal digits without `0x`"));
        }
    }
    ids
}
