//! Which VF is meant, and what is true of it now.

use std::path::{Component, Path};

use sriov_config::netconf::{DeviceSource, Wanted};
use sriov_device_info::info::{DeviceInfo, Pci};
use sriov_device_info::{Store, StoreError};
use sriov_host::netlink::{Link, Netlink};
use sriov_host::snapshot::{LinkType, Netdev};
use sriov_host::sysfs::Presence;
use sriov_host::vf::VfSettings;
use sriov_host::{HostRoot, PciAddress, VfIndex, sysfs};

use crate::Setup;
use crate::failure::Failure;

/// A VF as it is before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfView {
    /// The VF.
    pub address: PciAddress,
    /// Which VF of that address ([`sysfs::incarnation`]).
    pub incarnation: u64,
    /// Its PF.
    pub pf: PfView,
    /// Its index there.
    pub index: VfIndex,
    /// What its PF reports of it; nothing when the driver does not tell.
    pub settings: Option<VfSettings>,
    /// How a pod uses it.
    pub side: VfSide,
}

/// The PF of a VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PfView {
    /// The PF.
    pub address: PciAddress,
    /// Name of its uplink.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Interface index of its uplink.
    pub ifindex: u32,
}

/// How a pod uses a VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VfSide {
    /// By a network device of the kernel, which is on the host now.
    Netdev(Link),
    /// By a driver in user space, bound to this kernel driver.
    Userspace(String),
}

impl VfSide {
    /// Whether a driver in user space has it.
    pub fn is_userspace(&self) -> bool {
        matches!(self, Self::Userspace(_))
    }
}

/// A device that cannot be attached, each reason a sentence of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Nothing names a device.
    #[error(
        "no device: the configuration has neither deviceID nor a CNIDeviceInfoFile; does the network's resourceName match what the pod asks for?"
    )]
    Unnamed,
    /// Two sources name different devices.
    #[error("deviceID is `{named}`, the device-info file says `{in_file}`")]
    Disagree {
        /// In the configuration.
        named: PciAddress,
        /// In the file.
        in_file: PciAddress,
    },
    /// The device-info file names no PCI function.
    #[error("the device-info file names no PCI function")]
    NotPci,
    /// There is no such device.
    #[error("there is no PCI device `{0}`")]
    Missing(PciAddress),
    /// It is a PF.
    #[error("`{0}` is a PF, not a VF")]
    IsPf(PciAddress),
    /// It is no VF.
    #[error("`{0}` is not a VF")]
    NotVf(PciAddress),
    /// Its PF is gone or does not list it.
    #[error("the PF `{pf}` does not list the VF `{vf}`")]
    NotListed {
        /// The VF.
        vf: PciAddress,
        /// The PF.
        pf: PciAddress,
    },
    /// Its PF has no network device here.
    #[error(
        "the PF `{0}` has no network device on the host: it was moved to another network namespace, or its driver makes none"
    )]
    PfWithoutNetdev(PciAddress),
    /// Its PF is down.
    #[error("the PF `{pf}` (`{name}`) is down: set it up, its VFs have no link")]
    PfDown {
        /// The PF.
        pf: PciAddress,
        /// Its network device.
        name: String,
    },
    /// Its PF is in switchdev mode.
    #[error(
        "the PF `{0}` is in switchdev mode: its VFs are configured through their representors, not by this plugin"
    )]
    Switchdev(PciAddress),
    /// No driver is bound.
    #[error("no driver is bound to the VF `{0}`")]
    NoDriver(PciAddress),
    /// Its network device is somewhere else.
    #[error(
        "the network device of the VF `{0}` (driver {1}) is not on the host: it is in another namespace, or its driver makes none"
    )]
    Away(PciAddress, String),
    /// What is asked for does not go with this kind of VF.
    #[error("{key}: the VF `{vf}` {kind}, which has none")]
    NotOfKind {
        /// Key of the configuration.
        key: &'static str,
        /// The VF.
        vf: PciAddress,
        /// What it is.
        kind: &'static str,
    },
    /// Several of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<DeviceError>),
}

/// The address that the configuration means.
///
/// # Errors
/// When no source names a device, or two name different ones.
pub fn address(source: &DeviceSource) -> Result<PciAddress, Failure> {
    let file = source
        .info_file
        .as_deref()
        .map(sriov_device_info::store::read)
        .transpose()
        .map_err(Failure::DeviceInfo)?;
    // A file that is not there is normal: it is the plugin that may make it (device-info specification, section 5.1).
    let Some(info) = file.flatten() else {
        return source.address.ok_or_else(|| DeviceError::Unnamed.into());
    };
    let in_file = info
        .pci_address()
        .and_then(|text| text.parse::<PciAddress>().ok())
        .ok_or(DeviceError::NotPci)?;
    match source.address {
        Some(named) if named != in_file => Err(DeviceError::Disagree { named, in_file }.into()),
        Some(_) | None => Ok(in_file),
    }
}

/// Completes the attachment's device-info file, or makes it where the device plugin made none (device information specification, section 5.1.2).
///
/// Only a file below the specification's directory is written: its path comes with the configuration, whose author may not be root.
pub fn tell(setup: &Setup, source: &DeviceSource, view: &VfView) -> Result<(), StoreError> {
    let is_plain = |path: &Path| {
        let mut parts = path.components();
        path.starts_with(&setup.device_info_dir)
            && parts.all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    let Some(path) = source.info_file.as_deref().filter(|path| is_plain(path)) else {
        return Ok(());
    };
    let known = sriov_device_info::store::read(path)?;
    let mut pci = match &known {
        None => Pci {
            pci_address: view.address.to_string(),
            ..Pci::default()
        },
        Some(DeviceInfo::Pci { pci, .. }) if pci.pf_pci_address.is_none() => pci.clone(),
        Some(_) => return Ok(()),
    };
    pci.pf_pci_address = Some(view.pf.address.to_string());
    Store::write(path, &DeviceInfo::pci(pci))
}

/// A VF as sysfs shows it: all that can be judged before anything is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The VF.
    pub vf: Presence,
    /// Which VF of that address.
    pub incarnation: u64,
    /// Its PF.
    pub pf: PfView,
    /// Its index there.
    pub index: VfIndex,
    driver: String,
}

/// Finds the VF and judges whether what is asked for goes with it; takes no lock and changes nothing.
///
/// # Errors
/// [`DeviceError`], or [`Failure::Sysfs`].
pub fn identify(
    host: &HostRoot,
    address: PciAddress,
    wanted: &Wanted,
) -> Result<Candidate, Failure> {
    let vf = sysfs::presence(host, address).map_err(Failure::Sysfs)?;
    let (Some(vf), Some(incarnation)) = (vf, sysfs::incarnation(host, address)) else {
        return Err(DeviceError::Missing(address).into());
    };
    let (pf, index) = place_of(&vf)?;
    let driver = vf.driver.clone().ok_or(DeviceError::NoDriver(address))?;
    let pf = sysfs::presence(host, pf)
        .map_err(Failure::Sysfs)?
        .ok_or(DeviceError::Missing(pf))?;
    ensure_of_kind(wanted, &vf, &pf)?;
    let uplink = uplink(&pf).ok_or(DeviceError::PfWithoutNetdev(pf.address))?;
    if pf.netdevs.iter().any(is_representor) {
        return Err(DeviceError::Switchdev(pf.address).into());
    }
    Ok(Candidate {
        incarnation,
        pf: pf_of(&pf, uplink),
        index,
        driver,
        vf,
    })
}

/// What is true of the VF now; `candidate` is what sysfs showed since the lock was taken.
pub async fn observe(
    netlink: &Netlink,
    candidate: Candidate,
    wanted: &Wanted,
) -> Result<VfView, Failure> {
    let Candidate {
        vf,
        incarnation,
        pf,
        index,
        driver,
    } = candidate;
    let address = vf.address;
    let failed = |source| Failure::Link {
        device: address,
        source,
    };
    let side = match vf.netdevs.first() {
        None if is_userspace(&driver) => VfSide::Userspace(driver),
        None => return Err(DeviceError::Away(address, driver).into()),
        Some(netdev) => {
            let link = netlink.link(netdev.ifindex).await.map_err(failed)?;
            // Another call may have moved it since sysfs was read.
            let link = link.filter(|link| link.device.is_none_or(|device| device == address));
            VfSide::Netdev(link.ok_or(DeviceError::Away(address, driver))?)
        }
    };
    let touches_pf = *wanted
        != Wanted {
            mtu: wanted.mtu,
            ..Wanted::default()
        };
    let (uplink, settings) = if touches_pf || side.is_userspace() {
        netlink
            .vf_of_pf(pf.ifindex, index)
            .await
            .map_err(failed)?
            .map_or((None, None), |(uplink, settings)| (Some(uplink), settings))
    } else {
        // Nothing is asked of the PF: its list of VFs is not needed.
        (netlink.link(pf.ifindex).await.map_err(failed)?, None)
    };
    let uplink = uplink.ok_or(DeviceError::PfWithoutNetdev(pf.address))?;
    if !uplink.is_up {
        return Err(DeviceError::PfDown {
            pf: pf.address,
            name: pf.name,
        }
        .into());
    }
    Ok(VfView {
        address,
        incarnation,
        pf,
        index,
        settings,
        side,
    })
}

/// PF and index of a VF.
///
/// # Errors
/// [`DeviceError`], or [`Failure::Sysfs`].
pub fn place(host: &HostRoot, address: PciAddress) -> Result<(PciAddress, VfIndex), Failure> {
    let vf = sysfs::presence(host, address)
        .map_err(Failure::Sysfs)?
        .ok_or(DeviceError::Missing(address))?;
    Ok(place_of(&vf)?)
}

fn place_of(vf: &Presence) -> Result<(PciAddress, VfIndex), DeviceError> {
    match vf.vf_of {
        Some((pf, Some(index))) => Ok((pf, index)),
        Some((pf, None)) => Err(DeviceError::NotListed { vf: vf.address, pf }),
        None if vf.is_pf => Err(DeviceError::IsPf(vf.address)),
        None => Err(DeviceError::NotVf(vf.address)),
    }
}

/// A PF with its uplink.
pub fn pf_view(host: &HostRoot, address: PciAddress) -> Result<PfView, Failure> {
    let pf = sysfs::presence(host, address)
        .map_err(Failure::Sysfs)?
        .ok_or(DeviceError::Missing(address))?;
    let uplink = uplink(&pf).ok_or(DeviceError::PfWithoutNetdev(address))?;
    Ok(pf_of(&pf, uplink))
}

fn pf_of(pf: &Presence, uplink: &Netdev) -> PfView {
    PfView {
        address: pf.address,
        name: uplink.name.to_string(),
        ifindex: uplink.ifindex,
        driver: pf.driver.clone().unwrap_or_default(),
    }
}

/// All keys that do not go with the VF, at once.
fn ensure_of_kind(wanted: &Wanted, vf: &Presence, pf: &Presence) -> Result<(), DeviceError> {
    // The VF's own network device is away with a driver for user space: its PF has the same kind of link.
    let netdev = vf.netdevs.first().or_else(|| pf.netdevs.first());
    let is_infiniband = netdev.is_some_and(|netdev| netdev.link_type == LinkType::Infiniband);
    let is_userspace = vf.driver.as_deref().is_some_and(is_userspace);
    let (ethernet, infiniband, userspace) = (
        "is an Ethernet one",
        "is an InfiniBand one",
        "has a driver for user space and no network device",
    );
    let asked = [
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
        ("mtu", wanted.mtu.is_some() && is_userspace, userspace),
    ];
    let mut errors: Vec<DeviceError> = asked
        .into_iter()
        .filter(|(_, is_wrong, _)| *is_wrong)
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

/// In switchdev mode representors are beside the uplink, whose port name is `p` and a number.
fn uplink(pf: &Presence) -> Option<&Netdev> {
    let is_uplink = |port: &str| {
        port.strip_prefix('p')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let named = pf
        .netdevs
        .iter()
        .find(|netdev| netdev.phys_port_name.as_deref().is_some_and(is_uplink));
    named.or_else(|| pf.netdevs.iter().find(|netdev| !is_representor(netdev)))
}

/// A port name like `pf0vf3` or `c1pf0vf3` (net/devlink/port.c, `__devlink_port_phys_port_name_get`).
///
/// A `phys_switch_id` proves nothing: `ice` has one in legacy mode too.
fn is_representor(netdev: &Netdev) -> bool {
    let port = netdev.phys_port_name.as_deref().unwrap_or_default();
    port.rsplit_once("vf").is_some_and(|(pf, vf)| {
        pf.contains("pf") && !vf.is_empty() && vf.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Drivers that give a device to user space: vfio-pci, its vendor variants, and those of UIO.
pub fn is_userspace(driver: &str) -> bool {
    driver.contains("vfio") || matches!(driver, "uio_pci_generic" | "igb_uio")
}

#[cfg(test)]
mod tests;
