//! One selector: AND across its fields, OR within a list, an absent field is no filter.

use sriov_host::PciAddress;

use super::DeviceType;
use crate::fields::{Fields, Findings};
use crate::pf_selector::PfSelector;

/// A selector of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What only network devices have; nothing for accelerators.
    pub net: NetSelector,
}

/// The fields that only network devices have.
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
    /// Only devices with RDMA, whose character devices the pod gets.
    pub is_rdma: bool,
    /// Whether the pod gets `/dev/vhost-net` and `/dev/net/tun`.
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

const COMMON: &[&str] = &[
    "vendors",
    "devices",
    "drivers",
    "pciAddresses",
    "acpiIndexes",
];
const NET: &[&str] = &[
    "pfNames",
    "rootDevices",
    "linkTypes",
    "ddpProfiles",
    "pKeys",
    "auxTypes",
    "isRdma",
    "needVhostNet",
    "vdpaType",
];

impl Selector {
    pub(super) fn read(
        fields: &Fields<'_>,
        device_type: DeviceType,
        path: &str,
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.mistakes.len();
        let is_net = device_type != DeviceType::Accelerator;
        let known: Vec<&str> = COMMON
            .iter()
            .chain(if is_net { NET } else { &[] })
            .copied()
            .collect();
        fields.warn_unknown(&known, findings);
        let selector = Self {
            vendors: ids(fields, "vendors", findings),
            devices: ids(fields, "devices", findings),
            drivers: strings(fields, "drivers", findings),
            pci_addresses: fields.all_parsed("pciAddresses", findings),
            acpi_indexes: strings(fields, "acpiIndexes", findings),
            net: if is_net {
                NetSelector::read(fields, findings)
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
                "an auxNetDevice resource needs auxTypes, and the only one is `sf`",
            );
        }
        if selector.net.is_rdma && selector.net.vdpa_type.is_some() {
            findings.mistake(path, "isRdma and vdpaType exclude each other");
        }
        if selector.is_empty() {
            findings.warning(
                path,
                "this selector has no condition and matches every device",
            );
        }
        (findings.mistakes.len() == before).then_some(selector)
    }

    /// Whether it matches everything because it says nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            vendors,
            devices,
            drivers,
            pci_addresses,
            acpi_indexes,
            net,
        } = self;
        let NetSelector {
            need_vhost_net: _, ..
        } = net;
        vendors.is_empty()
            && devices.is_empty()
            && drivers.is_empty()
            && pci_addresses.is_empty()
            && acpi_indexes.is_empty()
            && NetSelector {
                need_vhost_net: false,
                ..net.clone()
            } == NetSelector::default()
    }
}

impl NetSelector {
    fn read(fields: &Fields<'_>, findings: &mut Findings) -> Self {
        let vdpa_type = match fields.text("vdpaType", findings) {
            None | Some("") => None,
            Some("virtio") => Some(VdpaType::Virtio),
            Some("vhost") => Some(VdpaType::Vhost),
            Some(other) => {
                findings.mistake(
                    &fields.path("vdpaType"),
                    format!("`{other}` is not one of virtio, vhost"),
                );
                None
            }
        };
        Self {
            pf_names: fields.all_parsed("pfNames", findings),
            root_devices: fields.all_parsed("rootDevices", findings),
            link_types: strings(fields, "linkTypes", findings),
            ddp_profiles: strings(fields, "ddpProfiles", findings),
            pkeys: strings(fields, "pKeys", findings),
            aux_types: strings(fields, "auxTypes", findings),
            is_rdma: fields.flag("isRdma", findings),
            need_vhost_net: fields.flag("needVhostNet", findings),
            vdpa_type,
        }
    }
}

fn strings(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Vec<String> {
    fields
        .texts(key, findings)
        .into_iter()
        .map(|(_, text)| text.to_owned())
        .collect()
}

/// Ids that could never match are mistakes: the kernel prints four lower-case digits without `0x`.
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
