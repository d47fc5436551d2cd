//! The conditions of a selector, one for each key that is set: all of them must hold, and within one condition any value may match.
//!
//! A new key of selectors is a variant here: its name, how its values are shown, and when a device matches.

use std::fmt;

use sriov_config::pf_selector::PfSelector;
use sriov_config::resource_list::{NetSelector, Selector, VdpaType};
use sriov_host::PciAddress;
use sriov_host::snapshot::{LinkType, PciFunction, PciId};

use crate::candidate::Candidate;

/// One condition of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Vendor ids.
    Vendors(&'a [String]),
    /// Device ids.
    Devices(&'a [String]),
    /// Drivers.
    Drivers(&'a [String]),
    /// PCI addresses.
    PciAddresses(&'a [PciAddress]),
    /// ACPI indices.
    AcpiIndexes(&'a [String]),
    /// PFs by name, with ranges of VFs.
    PfNames(&'a [PfSelector<String>]),
    /// PFs by address, with ranges of VFs.
    RootDevices(&'a [PfSelector<PciAddress>]),
    /// Link types.
    LinkTypes(&'a [String]),
    /// DDP profiles.
    DdpProfiles(&'a [String]),
    /// InfiniBand partition keys.
    Pkeys(&'a [String]),
    /// Kinds of auxiliary device.
    AuxTypes(&'a [String]),
    /// Only devices with RDMA.
    Rdma,
    /// Only devices with this kind of vDPA.
    Vdpa(VdpaType),
}

/// The conditions of a selector; none for one that matches every device.
pub fn conditions(selector: &Selector) -> Vec<Condition<'_>> {
    let Selector {
        vendors,
        devices,
        drivers,
        pci_addresses,
        acpi_indexes,
        net,
    } = selector;
    let NetSelector {
        pf_names,
        root_devices,
        link_types,
        ddp_profiles,
        pkeys,
        aux_types,
        is_rdma,
        // Determines what the pod gets; not a condition.
        need_vhost_net: _,
        vdpa_type,
    } = net;
    let lists = [
        (vendors.is_empty(), Condition::Vendors(vendors)),
        (devices.is_empty(), Condition::Devices(devices)),
        (drivers.is_empty(), Condition::Drivers(drivers)),
        (
            pci_addresses.is_empty(),
            Condition::PciAddresses(pci_addresses),
        ),
        (
            acpi_indexes.is_empty(),
            Condition::AcpiIndexes(acpi_indexes),
        ),
        (pf_names.is_empty(), Condition::PfNames(pf_names)),
        (
            root_devices.is_empty(),
            Condition::RootDevices(root_devices),
        ),
        (link_types.is_empty(), Condition::LinkTypes(link_types)),
        (
            ddp_profiles.is_empty(),
            Condition::DdpProfiles(ddp_profiles),
        ),
        (pkeys.is_empty(), Condition::Pkeys(pkeys)),
        (aux_types.is_empty(), Condition::AuxTypes(aux_types)),
        (!is_rdma, Condition::Rdma),
    ];
    let set = lists.into_iter().filter(|(is_absent, _)| !is_absent);
    let set = set.map(|(_, condition)| condition);
    set.chain(vdpa_type.map(Condition::Vdpa)).collect()
}

impl Condition<'_> {
    /// The key in the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Vendors(_) => "vendors",
            Self::Devices(_) => "devices",
            Self::Drivers(_) => "drivers",
            Self::PciAddresses(_) => "pciAddresses",
            Self::AcpiIndexes(_) => "acpiIndexes",
            Self::PfNames(_) => "pfNames",
            Self::RootDevices(_) => "rootDevices",
            Self::LinkTypes(_) => "linkTypes",
            Self::DdpProfiles(_) => "ddpProfiles",
            Self::Pkeys(_) => "pKeys",
            Self::AuxTypes(_) => "auxTypes",
            Self::Rdma => "isRdma",
            Self::Vdpa(_) => "vdpaType",
        }
    }

    /// Whether a device meets it.
    pub fn matches(&self, device: &Candidate<'_>) -> bool {
        let hardware = device.hardware;
        match self {
            Self::Vendors(ids) => is_id_in(ids, hardware.vendor),
            Self::Devices(ids) => is_id_in(ids, hardware.device),
            Self::Drivers(names) => is_in(names, hardware.driver.as_deref()),
            Self::PciAddresses(addresses) => addresses.contains(&hardware.address),
            Self::AcpiIndexes(indexes) => is_in(indexes, hardware.acpi_index.as_deref()),
            // These keys name a PF whose VFs are wanted, and never the PF: it may have none for a moment.
            Self::PfNames(_) | Self::RootDevices(_) if device.can_have_vfs => false,
            Self::PfNames(pfs) => pfs
                .iter()
                .any(|wanted| has_name(device.pf, &wanted.pf) && wanted.contains(device.number)),
            Self::RootDevices(pfs) => pfs
                .iter()
                .any(|wanted| wanted.pf == device.pf.address && wanted.contains(device.number)),
            Self::LinkTypes(types) => {
                let link_type = device.link_type.map(|link_type| link_type.to_string());
                is_in(types, link_type.as_deref())
            }
            Self::DdpProfiles(profiles) => is_in(profiles, device.ddp_profile),
            Self::Pkeys(pkeys) => {
                let is_infiniband = device.link_type == Some(LinkType::Infiniband);
                let pkey = hardware.pkey.as_deref().filter(|_| is_infiniband);
                pkeys.iter().any(|wanted| is_pkey(wanted, pkey))
            }
            Self::AuxTypes(types) => is_in(types, device.aux_type),
            Self::Rdma => device.has_rdma,
            Self::Vdpa(kind) => has_vdpa(hardware, *kind),
        }
    }

    /// Whether it names this PF, whatever the VFs; absent for conditions that name no PF.
    pub(crate) fn names_pf(&self, device: &Candidate<'_>) -> Option<bool> {
        match self {
            Self::PfNames(pfs) => Some(pfs.iter().any(|wanted| has_name(device.pf, &wanted.pf))),
            Self::RootDevices(pfs) => Some(pfs.iter().any(|wanted| wanted.pf == device.pf.address)),
            Self::Vendors(_)
            | Self::Devices(_)
            | Self::Drivers(_)
            | Self::PciAddresses(_)
            | Self::AcpiIndexes(_)
            | Self::LinkTypes(_)
            | Self::DdpProfiles(_)
            | Self::Pkeys(_)
            | Self::AuxTypes(_)
            | Self::Rdma
            | Self::Vdpa(_) => None,
        }
    }
}

/// The values, separated by commas.
impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendors(texts)
            | Self::Devices(texts)
            | Self::Drivers(texts)
            | Self::AcpiIndexes(texts)
            | Self::LinkTypes(texts)
            | Self::DdpProfiles(texts)
            | Self::Pkeys(texts)
            | Self::AuxTypes(texts) => list(f, texts),
            Self::PciAddresses(addresses) => list(f, addresses),
            Self::PfNames(pfs) => list(f, pfs),
            Self::RootDevices(pfs) => list(f, pfs),
            Self::Rdma => f.write_str("true"),
            Self::Vdpa(kind) => kind.fmt(f),
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, values: &[T]) -> fmt::Result {
    for (position, value) in values.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}{value}")?;
    }
    Ok(())
}

fn is_id_in(ids: &[String], id: PciId) -> bool {
    is_in(ids, Some(&id.to_string()))
}

fn is_in(list: &[String], value: Option<&str>) -> bool {
    value.is_some_and(|value| list.iter().any(|item| item == value))
}

/// Whether the PF's own network device, not a representor, has this name; upper and lower case count alike, as in the Go plugin.
fn has_name(pf: &PciFunction, wanted: &str) -> bool {
    // A function may have several ports; a management device stands in for ports at another function.
    let mut netdevs = pf.ports().chain(pf.uplink());
    netdevs.any(|netdev| {
        let altnames = netdev.altnames.iter().map(String::as_str);
        let mut names = altnames.chain([netdev.name.as_str()]);
        names.any(|name| name.eq_ignore_ascii_case(wanted))
    })
}

/// Whether both are the same partition. The highest bit distinguishes full from limited members (InfiniBand Architecture Specification,
/// 10.9.1.1) and is compared only when the wanted key has it.
fn is_pkey(wanted: &str, actual: Option<&str>) -> bool {
    let (Some(wanted), Some(actual)) = (pkey(wanted), actual.and_then(pkey)) else {
        return false;
    };
    actual == wanted || actual & 0x7fff == wanted
}

fn pkey(text: &str) -> Option<u16> {
    let text = text.trim().to_ascii_lowercase();
    u16::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
}

fn has_vdpa(function: &PciFunction, kind: VdpaType) -> bool {
    let driver = match kind {
        VdpaType::Virtio => "virtio_vdpa",
        VdpaType::Vhost => "vhost_vdpa",
    };
    let mut devices = function.vdpa.iter();
    devices.any(|device| device.driver.as_deref() == Some(driver))
}
