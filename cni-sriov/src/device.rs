//! Which VF is meant, and what is true of it now.

use sriov_config::netconf::DeviceSource;
use sriov_host::netlink::{Link, Netlink};
use sriov_host::snapshot::{PciFunction, SriovRole};
use sriov_host::vf::VfSettings;
use sriov_host::{HostRoot, PciAddress, VfIndex, sysfs};

use crate::failure::Failure;

/// A VF as it is before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfView {
    /// The VF.
    pub address: PciAddress,
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
    #[error("the PF `{0}` has no network device on the host")]
    PfWithoutNetdev(PciAddress),
    /// No driver is bound.
    #[error("no driver is bound to the VF `{0}`")]
    NoDriver(PciAddress),
    /// Its network device is somewhere else.
    #[error(
        "the network device of the VF `{0}` (driver {1}) is not on the host: it is in another namespace, or its driver makes none"
    )]
    Away(PciAddress, String),
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

/// What is true of the VF now.
pub async fn observe(
    host: &HostRoot,
    netlink: &Netlink,
    address: PciAddress,
) -> Result<VfView, Failure> {
    let function = sysfs::function(host, address)
        .map_err(Failure::Sysfs)?
        .ok_or(DeviceError::Missing(address))?;
    let (pf, index) = match &function.role {
        SriovRole::Vf { pf, index } => (
            *pf,
            index.ok_or(DeviceError::NotListed {
                vf: address,
                pf: *pf,
            })?,
        ),
        SriovRole::Pf { .. } => return Err(DeviceError::IsPf(address).into()),
        SriovRole::None => return Err(DeviceError::NotVf(address).into()),
    };
    let driver = function
        .driver
        .clone()
        .ok_or(DeviceError::NoDriver(address))?;
    let pf = pf_view(host, pf)?;
    let side = match function.netdevs.first() {
        None if is_userspace(&driver) => VfSide::Userspace(driver),
        None => return Err(DeviceError::Away(address, driver).into()),
        Some(netdev) => {
            let link = netlink
                .link(netdev.ifindex)
                .await
                .map_err(|source| Failure::Link {
                    device: address,
                    source,
                })?;
            VfSide::Netdev(link.ok_or(DeviceError::Away(address, driver))?)
        }
    };
    let settings = netlink
        .vf_settings(pf.ifindex, index)
        .await
        .map_err(|source| Failure::Link {
            device: address,
            source,
        })?;
    Ok(VfView {
        address,
        pf,
        index,
        settings,
        side,
    })
}

/// A PF with its uplink.
pub fn pf_view(host: &HostRoot, address: PciAddress) -> Result<PfView, Failure> {
    let pf = sysfs::function(host, address)
        .map_err(Failure::Sysfs)?
        .ok_or(DeviceError::Missing(address))?;
    let uplink = uplink(&pf).ok_or(DeviceError::PfWithoutNetdev(address))?;
    Ok(PfView {
        address,
        ifindex: uplink,
        driver: pf.driver.clone().unwrap_or_default(),
    })
}

/// In switchdev mode representors are beside the uplink, whose port name is `p` and a number.
fn uplink(pf: &PciFunction) -> Option<u32> {
    let is_uplink = |port: &str| {
        port.strip_prefix('p')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let named = pf
        .netdevs
        .iter()
        .find(|netdev| netdev.phys_port_name.as_deref().is_some_and(is_uplink));
    named
        .or_else(|| pf.netdevs.first())
        .map(|netdev| netdev.ifindex)
}

/// Drivers that give a device to user space: vfio-pci, its vendor variants, and those of UIO.
fn is_userspace(driver: &str) -> bool {
    driver.contains("vfio") || matches!(driver, "uio_pci_generic" | "igb_uio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_for_user_space_are_told_apart() {
        for (driver, userspace) in [
            ("vfio-pci", true),
            ("mlx5_vfio_pci", true),
            ("uio_pci_generic", true),
            ("igbvf", false),
            ("mlx5_core", false),
        ] {
            assert_eq!(is_userspace(driver), userspace, "{driver}");
        }
    }

    #[test]
    fn the_two_sources_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("info");
        std::fs::write(
            &file,
            r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0"}}"#,
        )
        .unwrap();
        let source = |address: Option<&str>, file: Option<&std::path::Path>| DeviceSource {
            address: address.map(|text| text.parse().unwrap()),
            info_file: file.map(Into::into),
        };
        let found = |source| {
            address(&source)
                .map(|address| address.to_string())
                .map_err(|failure| failure.code())
        };
        assert_eq!(found(source(None, Some(&file))), Ok("0000:01:10.0".into()));
        assert_eq!(
            found(source(Some("0000:01:10.0"), Some(&file))),
            Ok("0000:01:10.0".into())
        );
        assert_eq!(found(source(Some("0000:01:10.2"), Some(&file))), Err(7));
        assert_eq!(
            found(source(Some("0000:01:10.2"), Some(&dir.path().join("none")))),
            Ok("0000:01:10.2".into())
        );
        assert_eq!(found(source(None, None)), Err(7));
    }
}
