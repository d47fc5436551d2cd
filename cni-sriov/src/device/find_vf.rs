//! Finds a VF in sysfs and judges whether the configuration applies to it; takes no lock and changes nothing.

use sriov_config::netconf::Wanted;
use sriov_host::snapshot::{LinkType, Netdev};
use sriov_host::sysfs::Presence;
use sriov_host::{HostRoot, PciAddress, VfIndex, sysfs};

use super::error::DeviceError;
use super::ports::{ensure_one_netdev, ensure_one_port, is_lone_vf};
use super::uplink::{is_representor, uplink};
use crate::model::{Driver, PfView, VfView};

/// A VF as sysfs shows it: all that can be judged before anything is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The VF.
    pub(super) vf: Presence,
    /// Identity of the device at its address.
    pub(super) incarnation: u64,
    /// Its PF.
    pub(super) pf: PfView,
    /// Its index at the PF.
    pub(super) index: VfIndex,
    /// Its driver.
    pub(super) driver: Driver,
}

/// Finds the VF and judges whether the configuration applies to it.
///
/// # Errors
/// The reason why the VF cannot be attached.
pub(crate) fn find_vf(
    host: &HostRoot,
    address: PciAddress,
    wanted: &Wanted,
) -> Result<Candidate, DeviceError> {
    let present = sysfs::presence(host, address)?;
    let (Some(vf), Some(incarnation)) = (present, sysfs::incarnation(host, address)) else {
        return Err(DeviceError::Missing(address));
    };
    let (pf_address, index) = pf_and_index_of(host, &vf)?;
    let driver = driver_of(&vf).ok_or(DeviceError::NoDriver(address))?;
    let pf = present_function(host, pf_address)?;
    ensure_of_kind(wanted, &vf, &driver, &pf)?;
    ensure_one_netdev(&vf)?;
    let uplink = uplink(&pf).ok_or(DeviceError::PfWithoutNetdev(pf.address))?;
    ensure_one_port(host, wanted, &vf, &pf)?;
    if pf.netdevs.iter().any(is_representor) {
        return Err(DeviceError::Switchdev(pf.address));
    }
    Ok(Candidate {
        incarnation,
        pf: view_of_pf(&pf, uplink),
        index,
        driver,
        vf,
    })
}

/// PF and index of a VF.
///
/// # Errors
/// When the device is gone or is not a VF.
pub(crate) fn pf_and_index(
    host: &HostRoot,
    address: PciAddress,
) -> Result<(PciAddress, VfIndex), DeviceError> {
    pf_and_index_of(host, &present_function(host, address)?)
}

/// A PF with its uplink.
///
/// # Errors
/// When the PF or its uplink is not on the host.
pub(crate) fn pf_view(host: &HostRoot, address: PciAddress) -> Result<PfView, DeviceError> {
    let pf = present_function(host, address)?;
    let uplink = uplink(&pf).ok_or(DeviceError::PfWithoutNetdev(address))?;
    Ok(view_of_pf(&pf, uplink))
}

/// Fails when there is no device at an address.
///
/// # Errors
/// [`DeviceError::Missing`].
pub(crate) fn ensure_present(host: &HostRoot, address: PciAddress) -> Result<(), DeviceError> {
    let found = sysfs::incarnation(host, address);
    found.map(|_| ()).ok_or(DeviceError::Missing(address))
}

/// Fails when the VF was removed or created again since it was observed.
///
/// # Errors
/// [`DeviceError::Replaced`].
pub(crate) fn ensure_same(host: &HostRoot, view: &VfView) -> Result<(), DeviceError> {
    if sysfs::incarnation(host, view.address) == Some(view.incarnation) {
        Ok(())
    } else {
        Err(DeviceError::Replaced(view.address))
    }
}

/// The driver that is bound to a device.
pub(crate) fn driver_of(device: &Presence) -> Option<Driver> {
    device.driver.as_deref().map(Driver::new)
}

fn present_function(host: &HostRoot, address: PciAddress) -> Result<Presence, DeviceError> {
    sysfs::presence(host, address)?.ok_or(DeviceError::Missing(address))
}

fn pf_and_index_of(host: &HostRoot, vf: &Presence) -> Result<(PciAddress, VfIndex), DeviceError> {
    match vf.vf_of {
        Some((pf, Some(index))) => Ok((pf, index)),
        Some((pf, None)) => Err(DeviceError::NotListed { vf: vf.address, pf }),
        None if vf.is_pf => Err(DeviceError::IsPf(vf.address)),
        None if is_lone_vf(host, vf) => Err(DeviceError::WithoutPf(vf.address)),
        None => Err(DeviceError::NotVf(vf.address)),
    }
}

fn view_of_pf(pf: &Presence, uplink: &Netdev) -> PfView {
    PfView {
        address: pf.address,
        name: uplink.name.to_string(),
        ifindex: uplink.ifindex,
        driver: driver_of(pf).unwrap_or_default(),
    }
}

/// Refuses keys that do not apply to the kind of VF, all of them at once.
fn ensure_of_kind(
    wanted: &Wanted,
    vf: &Presence,
    driver: &Driver,
    pf: &Presence,
) -> Result<(), DeviceError> {
    // With a driver for user space the VF has no network device: its PF has the same kind of link.
    let netdev = vf.netdevs.first().or_else(|| pf.netdevs.first());
    let is_infiniband = netdev.is_some_and(|netdev| netdev.link_type == LinkType::Infiniband);
    let (ethernet, infiniband, userspace) = (
        "is an Ethernet VF",
        "is an InfiniBand VF",
        "has a driver for user space and no network device",
    );
    let keys = [
        ("mac", wanted.mac.is_some() && is_infiniband, infiniband),
        ("vlan", wanted.vlan.is_some() && is_infiniband, infiniband),
        (
            "spoofchk",
            wanted.spoofchk.is_some() && is_infiniband,
            infiniband,
        ),
        (
            "runtimeConfig.infinibandGUID",
            wanted.guid.is_some() && !is_infiniband,
            ethernet,
        ),
        (
            "mtu",
            wanted.mtu.is_some() && driver.is_userspace(),
            userspace,
        ),
    ];
    let refused = keys.into_iter().filter(|(_, is_refused, _)| *is_refused);
    let mut errors: Vec<DeviceError> = refused
        .map(|(key, _, kind)| DeviceError::NotOfKind {
            key,
            vf: vf.address,
            kind,
        })
        .collect();
    match errors.pop() {
        None => Ok(()),
        Some(only) if errors.is_empty() => Err(only),
        Some(last) => {
            errors.push(last);
            Err(DeviceError::Several(errors))
        }
    }
}

#[cfg(test)]
mod tests;
