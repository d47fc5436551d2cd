//! Reads sysfs below a [`HostRoot`] into a [`HostSnapshot`]: one pass, each attribute once, cost linear in the number of functions.
//!
//! A device that vanishes while it is read is simply not there; what is torn or unreadable is a [`ScanProblem`] and the scan goes on.
//! Class codes are named by `pci-info`.

mod attribute;
pub mod nodes;
pub mod statistics;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use self::attribute::{AttributeError, Device};
use crate::ifname::IfName;
use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::snapshot::{
    HostSnapshot, IommuGroup, LinkType, Netdev, PciClass, PciFunction, PciId, ScanProblem,
    SriovRole,
};
use crate::vf::VfIndex;

/// sysfs could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The list of devices could not be read: is sysfs mounted?
    #[error("cannot list the devices in `{}`: is sysfs mounted?", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One attribute could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One attribute could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One attribute says something that the kernel never says.
    #[error("`{}` holds `{text}`", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

impl From<AttributeError> for ScanError {
    fn from(error: AttributeError) -> Self {
        match error {
            AttributeError::Read { path, source } => Self::Read { path, source },
            AttributeError::Torn { path, text } => Self::Torn { path, text },
        }
    }
}

/// Scans all PCI functions.
///
/// # Errors
/// Only when the list of devices itself cannot be read.
pub fn scan(root: &HostRoot) -> Result<HostSnapshot, ScanError> {
    let path = devices(root);
    let list = |source| ScanError::List {
        path: path.clone(),
        source,
    };
    let mut snapshot = HostSnapshot::default();
    for entry in fs::read_dir(&path).map_err(list)? {
        let name = entry
            .map_err(list)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let problem = |reason: String| ScanProblem {
            device: name.clone(),
            reason,
        };
        match name.parse::<PciAddress>() {
            Err(error) => snapshot.problems.push(problem(error.to_string())),
            Ok(address) => match read(root, address) {
                Ok(Some(function)) => {
                    snapshot.functions.insert(address, function);
                }
                Ok(None) => {}
                Err(error) => snapshot.problems.push(problem(chain(&error))),
            },
        }
    }
    index_vfs(&mut snapshot);
    snapshot.problems.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(snapshot)
}

/// Reads one function, and its index when it is a VF; nothing when it is not there.
///
/// # Errors
/// When an attribute that every function has is unreadable or torn.
pub fn function(root: &HostRoot, address: PciAddress) -> Result<Option<PciFunction>, ScanError> {
    let Some(mut function) = read(root, address)? else {
        return Ok(None);
    };
    if let SriovRole::Vf { pf, index } = &mut function.role {
        *index = vf_index(root, *pf, address);
    }
    Ok(Some(function))
}

/// What must be known of a function in order to use it now: cheap, whatever the number of its PF's VFs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its address.
    pub address: PciAddress,
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// Its PF and its index there, when it is a VF.
    pub vf_of: Option<(PciAddress, Option<VfIndex>)>,
    /// Whether it has the SR-IOV capability.
    pub is_pf: bool,
    /// Network devices in this network namespace, sorted by name.
    pub netdevs: Vec<Netdev>,
}

/// Looks at one function; nothing when it is not there.
///
/// # Errors
/// When an attribute is unreadable or torn.
pub fn presence(root: &HostRoot, address: PciAddress) -> Result<Option<Presence>, ScanError> {
    let device = Device::new(device_path(root, address));
    let look = || -> Result<Presence, AttributeError> {
        let physfn = device.link("physfn")?;
        let pf = physfn.and_then(|pf| pf.parse().ok());
        Ok(Presence {
            address,
            driver: device.link("driver")?,
            vf_of: pf.map(|pf| (pf, vf_index(root, pf, address))),
            is_pf: pf.is_none() && device.path("sriov_totalvfs").exists(),
            netdevs: netdevs(&device)?,
        })
    };
    match look() {
        // A function without anything is one that is not there.
        Ok(presence) if presence.driver.is_none() && !device.exists() => Ok(None),
        Ok(presence) => Ok(Some(presence)),
        Err(_) if !device.exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Interface index of the network device of a function, when it is in this network namespace.
pub fn netdev_index(root: &HostRoot, address: PciAddress) -> Result<Option<u32>, ScanError> {
    let device = Device::new(device_path(root, address));
    Ok(netdevs(&device)?.first().map(|netdev| netdev.ifindex))
}

/// Takes the driver away from a device and gives it back: what was set for the driver's next start takes effect.
///
/// Its network device is another one afterwards, in the namespace of the host.
///
/// # Errors
/// When the kernel refuses one of the two writes; the driver may be away then.
pub fn rebind(root: &HostRoot, address: PciAddress, driver: &str) -> Result<(), ScanError> {
    for verb in ["unbind", "bind"] {
        let path = root.join("sys/bus/pci/drivers").join(driver).join(verb);
        fs::write(&path, address.to_string())
            .map_err(|source| ScanError::Write { path, source })?;
    }
    Ok(())
}

/// The boot id: another one means that the kernel forgot all that was set before.
pub fn boot_id(root: &HostRoot) -> Result<String, ScanError> {
    let path = root.join("proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(&path).map_err(|source| ScanError::Read { path, source })?;
    Ok(text.trim().to_owned())
}

/// Identity of a device on this boot: a VF that is destroyed and made again is another one at the same address.
///
/// It is the inode of its directory, which the kernel does not use twice (fs/kernfs/dir.c, `__kernfs_new_node`); `None` when the device is not there.
pub fn incarnation(root: &HostRoot, address: PciAddress) -> Option<u64> {
    fs::metadata(device_path(root, address))
        .ok()
        .map(|metadata| metadata.ino())
}

/// The base class in words, for people; `pci-info` knows the list.
pub fn class_name(class: PciClass) -> String {
    format!(
        "{:?}",
        pci_info::pci_enums::PciDeviceClass::from_code(class.base())
    )
}

fn devices(root: &HostRoot) -> PathBuf {
    root.join("sys/bus/pci/devices")
}

fn read(root: &HostRoot, address: PciAddress) -> Result<Option<PciFunction>, ScanError> {
    let device = Device::new(device_path(root, address));
    let attributes = || -> Result<PciFunction, AttributeError> {
        let driver = device.link("driver")?;
        Ok(PciFunction {
            address,
            vendor: PciId(device.hexadecimal("vendor")?),
            device: PciId(device.hexadecimal("device")?),
            class: PciClass(device.hexadecimal("class")?),
            numa_node: device
                .decimal::<i64>("numa_node")?
                .and_then(|node| u32::try_from(node).ok()),
            iommu_group: iommu_group(&device)?,
            role: role(&device)?,
            netdevs: netdevs(&device)?,
            driver,
        })
    };
    match attributes() {
        Ok(function) => Ok(Some(function)),
        // Gone, before or while it was read.
        Err(_) if !device.exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn iommu_group(device: &Device) -> Result<Option<IommuGroup>, AttributeError> {
    let Some(number) = device
        .link("iommu_group")?
        .and_then(|group| group.parse().ok())
    else {
        return Ok(None);
    };
    let noiommu = device
        .text("iommu_group/name")?
        .is_some_and(|name| name == "vfio-noiommu");
    Ok(Some(IommuGroup { number, noiommu }))
}

fn role(device: &Device) -> Result<SriovRole, AttributeError> {
    if let Some(pf) = device.link("physfn")? {
        let torn = || AttributeError::Torn {
            path: device.path("physfn"),
            text: pf.clone(),
        };
        return Ok(SriovRole::Vf {
            pf: pf.parse().map_err(|_not_an_address| torn())?,
            index: None,
        });
    }
    match device.decimal::<u16>("sriov_totalvfs")? {
        None | Some(0) => Ok(SriovRole::None),
        Some(total_vfs) => Ok(SriovRole::Pf {
            total_vfs,
            vfs: virtfns(device)?,
        }),
    }
}

fn virtfns(device: &Device) -> Result<BTreeMap<VfIndex, PciAddress>, AttributeError> {
    let mut vfs = BTreeMap::new();
    if device.decimal::<u16>("sriov_numvfs")? == Some(0) {
        return Ok(vfs);
    }
    for name in device.names(".")? {
        let index = name
            .strip_prefix("virtfn")
            .and_then(|index| index.parse().ok());
        let Some(index) = index else { continue };
        // A link that vanished meanwhile is a VF that vanished.
        let vf = device.link(&name)?.and_then(|vf| vf.parse().ok());
        vfs.extend(vf.map(|vf| (VfIndex::new(index), vf)));
    }
    Ok(vfs)
}

/// Network devices below `net/`, or for a virtio function below the virtio device.
fn netdevs(device: &Device) -> Result<Vec<Netdev>, AttributeError> {
    let mut netdevs = netdevs_in(device, "net")?;
    if netdevs.is_empty() && device.link("driver")?.as_deref() == Some("virtio-pci") {
        for name in device.names(".")? {
            if name.starts_with("virtio") {
                netdevs.extend(netdevs_in(device, &format!("{name}/net"))?);
            }
        }
    }
    netdevs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(netdevs)
}

fn netdevs_in(device: &Device, dir: &str) -> Result<Vec<Netdev>, AttributeError> {
    let mut netdevs = Vec::new();
    for name in device.names(dir)? {
        let below = |attribute: &str| format!("{dir}/{name}/{attribute}");
        let Ok(name) = name.parse::<IfName>() else {
            continue;
        };
        let (Some(ifindex), Some(kind)) = (
            device.decimal(&below("ifindex"))?,
            device.decimal(&below("type"))?,
        ) else {
            continue;
        };
        netdevs.push(Netdev {
            ifindex,
            link_type: LinkType::from_arphrd(kind),
            phys_switch_id: device
                .text(&below("phys_switch_id"))?
                .filter(|text| !text.is_empty()),
            phys_port_name: device
                .text(&below("phys_port_name"))?
                .filter(|text| !text.is_empty()),
            name,
        });
    }
    Ok(netdevs)
}

/// Gives each VF the index that its PF's links say.
fn index_vfs(snapshot: &mut HostSnapshot) {
    let mut indices = BTreeMap::new();
    for function in snapshot.functions.values() {
        if let SriovRole::Pf { vfs, .. } = &function.role {
            indices.extend(vfs.iter().map(|(index, vf)| (*vf, *index)));
        }
    }
    for function in snapshot.functions.values_mut() {
        if let SriovRole::Vf { index, .. } = &mut function.role {
            *index = indices.get(&function.address).copied();
        }
    }
}

/// Finds the index of one VF: by the arithmetic of the SR-IOV capability and one link to confirm it, or by all links.
fn vf_index(root: &HostRoot, pf: PciAddress, vf: PciAddress) -> Option<VfIndex> {
    let device = Device::new(devices(root).join(pf.to_string()));
    let points_here = |index: &u16| {
        device
            .link(&format!("virtfn{index}"))
            .ok()
            .flatten()
            .is_some_and(|name| name.parse() == Ok(vf))
    };
    let routing_id = |address: PciAddress| {
        u32::from(address.bus()) << 8
            | u32::from(address.device()) << 3
            | u32::from(address.function())
    };
    // PCI Express Base Specification, First VF Offset and VF Stride; drivers/pci/iov.c, pci_iov_virtfn_devfn.
    let computed = || {
        let (offset, stride) = (
            device.decimal::<u32>("sriov_offset").ok()??,
            device.decimal::<u32>("sriov_stride").ok()??,
        );
        let distance = routing_id(vf)
            .checked_sub(routing_id(pf))?
            .checked_sub(offset)?;
        u16::try_from(distance.checked_div(stride)?).ok()
    };
    computed()
        .filter(points_here)
        .or_else(|| {
            let total = device.decimal::<u16>("sriov_totalvfs").ok()??;
            (0..total).find(points_here)
        })
        .map(VfIndex::new)
}

fn chain(error: &ScanError) -> String {
    let source =
        std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    format!("{error}{source}")
}

/// A path of the device, for messages.
pub fn device_path(root: &HostRoot, address: PciAddress) -> PathBuf {
    devices(root).join(address.to_string())
}

#[cfg(test)]
mod tests;
