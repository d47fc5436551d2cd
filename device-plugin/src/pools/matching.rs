//! Whether a selector means a device: AND across its fields, OR within a list; an absent field is no condition.

use sriov_config::resources::{NetSelector, Selector, VdpaType};
use sriov_host::snapshot::{HostSnapshot, LinkType, PciFunction};

use super::vf_index;

/// Whether all conditions of the selector hold for the function.
pub(crate) fn matches(
    snapshot: &HostSnapshot,
    function: &PciFunction,
    selector: &Selector,
) -> bool {
    let Selector {
        vendors,
        devices,
        drivers,
        pci_addresses,
        acpi_indexes,
        net,
    } = selector;
    one_of(vendors, Some(&function.vendor.to_string()))
        && one_of(devices, Some(&function.device.to_string()))
        && one_of(drivers, function.driver.as_deref())
        && (pci_addresses.is_empty() || pci_addresses.contains(&function.address))
        && one_of(acpi_indexes, function.acpi_index.as_deref())
        && matches_net(snapshot, function, net)
}

fn matches_net(snapshot: &HostSnapshot, function: &PciFunction, selector: &NetSelector) -> bool {
    let NetSelector {
        pf_names,
        root_devices,
        link_types,
        ddp_profiles,
        pkeys,
        // Only of subfunctions, which are no PCI functions.
        aux_types: _,
        is_rdma,
        // What the pod gets, no condition.
        need_vhost_net: _,
        vdpa_type,
    } = selector;
    let index = vf_index(function).map(|index| u32::from(index.get()));
    // A PF can be chosen by its own name; Go's plugin cannot (docs/differences.md).
    let pf = snapshot.pf_of(function).unwrap_or(function);
    let by_name = |wanted: &str| is_called(pf, wanted);
    let link_type = snapshot.link_type(function);
    let pkey = function
        .pkey
        .as_deref()
        .filter(|_| link_type == Some(LinkType::Infiniband));
    (pf_names.is_empty()
        || pf_names
            .iter()
            .any(|wanted| by_name(&wanted.pf) && wanted.contains(index)))
        && (root_devices.is_empty()
            || root_devices
                .iter()
                .any(|wanted| wanted.pf == pf.address && wanted.contains(index)))
        && one_of(
            link_types,
            link_type.map(|kind| kind.to_string()).as_deref(),
        )
        // Only devlink tells the profile, and the device plugin speaks no netlink: it matches nothing rather than everything.
        && ddp_profiles.is_empty()
        && (pkeys.is_empty() || pkeys.iter().any(|wanted| is_pkey(wanted, pkey)))
        && (!is_rdma || !function.rdma.is_empty())
        && vdpa_type.is_none_or(|kind| has_vdpa(function, kind))
}

fn one_of(list: &[String], value: Option<&str>) -> bool {
    list.is_empty() || value.is_some_and(|value| list.iter().any(|item| item == value))
}

/// Whether the PF's own network device, none of its representors, has this name, in any case as the Go plugin compares.
fn is_called(pf: &PciFunction, wanted: &str) -> bool {
    pf.uplink().is_some_and(|uplink| {
        let mut names = std::iter::once(&uplink.name).chain(&uplink.altnames);
        names.any(|name| name.as_str().eq_ignore_ascii_case(wanted))
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
