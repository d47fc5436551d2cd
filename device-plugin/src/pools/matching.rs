//! Whether a selector means a device: AND across its fields, OR within a list; an absent field is no condition.

use sriov_config::resources::{DeviceType, NetSelector, Resource, Selector, VdpaType};
use sriov_host::snapshot::{HostSnapshot, LinkType, PciFunction, PciId, Subfunction};

use super::{is_of_class, vf_index};

/// A device as selectors see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// The function itself, or the parent of a subfunction, whose ids and driver count.
    pub(crate) hardware: &'a PciFunction,
    pf: &'a PciFunction,
    /// Number among the VFs or subfunctions of its PF.
    number: Option<u32>,
    link_type: Option<LinkType>,
    has_rdma: bool,
    ddp_profile: Option<&'a str>,
    /// What kind of auxiliary device it is.
    aux_type: Option<&'static str>,
}

impl<'a> Candidate<'a> {
    /// A PCI function; a PF can be chosen by its own name, which Go's plugin does not know (docs/differences.md).
    pub(crate) fn function(snapshot: &'a HostSnapshot, function: &'a PciFunction) -> Self {
        Self {
            hardware: function,
            pf: snapshot.pf_of(function).unwrap_or(function),
            number: vf_index(function).map(|index| u32::from(index.get())),
            link_type: snapshot.link_type(function),
            has_rdma: !function.rdma.is_empty() || has_taken_rdma_along(snapshot, function),
            ddp_profile: ddp_profile(snapshot, function),
            aux_type: None,
        }
    }

    /// A subfunction, while its PF is there.
    pub(crate) fn subfunction(
        snapshot: &'a HostSnapshot,
        subfunction: &'a Subfunction,
    ) -> Option<Self> {
        let pf = snapshot.function(subfunction.pf)?;
        let own = subfunction.netdevs.first();
        Some(Self {
            hardware: pf,
            pf,
            number: Some(subfunction.sfnum),
            link_type: own
                .map(|netdev| netdev.link_type)
                .or_else(|| snapshot.link_type(pf)),
            has_rdma: !subfunction.rdma.is_empty(),
            ddp_profile: ddp_profile(snapshot, pf),
            aux_type: Some("sf"),
        })
    }

    /// Whether it is the kind of device that the resource is for.
    pub(crate) fn is_for(&self, resource: &Resource) -> bool {
        match self.aux_type {
            Some(_) => resource.device_type == DeviceType::AuxNetDevice,
            None => is_of_class(self.hardware, resource),
        }
    }

    /// Whether all conditions of the selector hold.
    pub(crate) fn matches(&self, selector: &Selector) -> bool {
        let Selector {
            vendors,
            devices,
            drivers,
            pci_addresses,
            acpi_indexes,
            net,
        } = selector;
        let hardware = self.hardware;
        is_id(vendors, hardware.vendor)
            && is_id(devices, hardware.device)
            && one_of(drivers, hardware.driver.as_deref())
            && (pci_addresses.is_empty() || pci_addresses.contains(&hardware.address))
            && one_of(acpi_indexes, hardware.acpi_index.as_deref())
            && self.matches_net(net)
    }

    fn matches_net(&self, selector: &NetSelector) -> bool {
        let NetSelector {
            pf_names,
            root_devices,
            link_types,
            ddp_profiles,
            pkeys,
            aux_types,
            is_rdma,
            // What the pod gets, no condition.
            need_vhost_net: _,
            vdpa_type,
        } = selector;
        let pkey = self.hardware.pkey.as_deref();
        let pkey = pkey.filter(|_| self.link_type == Some(LinkType::Infiniband));
        let mut roots = root_devices.iter();
        let mut names = pf_names.iter();
        (pf_names.is_empty()
            || names.any(|wanted| is_called(self.pf, &wanted.pf) && wanted.contains(self.number)))
            && (root_devices.is_empty()
                || roots.any(|wanted| wanted.pf == self.pf.address && wanted.contains(self.number)))
            && (link_types.is_empty() || self.has_link_type(link_types))
            && one_of(ddp_profiles, self.ddp_profile)
            && (pkeys.is_empty() || pkeys.iter().any(|wanted| is_pkey(wanted, pkey)))
            && one_of(aux_types, self.aux_type)
            && (!is_rdma || self.has_rdma)
            && vdpa_type.is_none_or(|kind| has_vdpa(self.hardware, kind))
    }

    fn has_link_type(&self, link_types: &[String]) -> bool {
        let link_type = self.link_type.map(|kind| kind.to_string());
        one_of(link_types, link_type.as_deref())
    }
}

/// The profile of a function, or of its PF, with which it shares the hardware that runs it.
fn ddp_profile<'a>(snapshot: &'a HostSnapshot, function: &PciFunction) -> Option<&'a str> {
    let of = |address| snapshot.ddp_profiles.get(address);
    let own = of(&function.address);
    let profile = own.or_else(|| of(&snapshot.pf_of(function)?.address));
    profile.map(String::as_str)
}

/// Whether the RDMA device of a VF is in a pod together with its network device, as in the kernel's exclusive mode (rdma-system(8)):
/// then neither is here, the driver is that of the PF, and the PF has RDMA.
fn has_taken_rdma_along(snapshot: &HostSnapshot, function: &PciFunction) -> bool {
    snapshot.pf_of(function).is_some_and(|pf| {
        function.netdevs.is_empty() && function.driver == pf.driver && !pf.rdma.is_empty()
    })
}

fn is_id(list: &[String], id: PciId) -> bool {
    list.is_empty() || one_of(list, Some(&id.to_string()))
}

fn one_of(list: &[String], value: Option<&str>) -> bool {
    list.is_empty() || value.is_some_and(|value| list.iter().any(|item| item == value))
}

/// Whether the PF's own network device, none of its representors, has this name, in any case as the Go plugin compares.
fn is_called(pf: &PciFunction, wanted: &str) -> bool {
    pf.uplink().is_some_and(|uplink| {
        let altnames = uplink.altnames.iter().map(String::as_str);
        let mut names = altnames.chain([uplink.name.as_str()]);
        names.any(|name| name.eq_ignore_ascii_case(wanted))
    })
}

/// The same partition: the highest bit says full or limited member (InfiniBand Architecture Specification, 10.9.1.1), and counts where it is wanted.
fn is_pkey(wanted: &str, has: Option<&str>) -> bool {
    let number = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        u16::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
    };
    let (Some(wanted), Some(has)) = (number(wanted), has.and_then(number)) else {
        return false;
    };
    has == wanted || has & 0x7fff == wanted
}

fn has_vdpa(function: &PciFunction, kind: VdpaType) -> bool {
    let driver = match kind {
        VdpaType::Virtio => "virtio_vdpa",
        VdpaType::Vhost => "vhost_vdpa",
    };
    let mut devices = function.vdpa.iter();
    devices.any(|device| device.driver.as_deref() == Some(driver))
}
