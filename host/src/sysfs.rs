//! Reads sysfs below a [`HostRoot`] into a [`HostSnapshot`]: one pass, each attribute once, with a cost linear in the number of functions.
//!
//! A device that is removed while it is read is left out; a torn or unreadable one is a [`ScanProblem`], and the scan continues.
//! `pci-info` names the class codes.

mod attribute;
mod buses;
mod netdevs;
pub mod nodes;
mod rdma;
pub mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use self::attribute::{AttributeError, Device};
use self::netdevs::{first_index, identities};
use crate::pci::PciAddress;
use crate::raw_name::RawName;
use crate::root::HostRoot;
use crate::snapshot::{
    HostSnapshot, IommuGroup, Netdev, PciClass, PciFunction, PciId, ScanProblem, SriovRole,
    Transition,
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
        /// The system's error.
        source: io::Error,
    },
    /// One attribute could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One attribute has a value that the kernel never writes.
    #[error("`{}` holds `{text}`", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// The value.
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
/// When the list of devices cannot be read.
pub fn scan(root: &HostRoot) -> Result<HostSnapshot, ScanError> {
    let path = devices(root);
    let list = |source| ScanError::List {
        path: path.clone(),
        source,
    };
    let mut snapshot = HostSnapshot::default();
    let mut functions = Vec::new();
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
            Ok(address) => {
                let device = Device::new(device_path(root, address));
                match read(&device, address) {
                    Ok(Some(function)) => {
                        functions.push((address, function));
                    }
                    Ok(None) => {}
                    Err(error) => snapshot.problems.push(problem(chain(&error))),
                }
                snapshot.lookups += device.lookups();
            }
        }
    }
    // A map that grows is half empty, a map from a whole list is full.
    snapshot.functions = functions.into_iter().collect();
    snapshot.index_vfs();
    snapshot.in_transition = in_transition(root, &mut snapshot);
    buses::vdpa(root, &mut snapshot);
    buses::subfunctions(root, &mut snapshot);
    snapshot.problems.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(snapshot)
}

/// The facts about a function that an attachment needs; reading them costs the same for any number of VFs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its address.
    pub address: PciAddress,
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// Its PF and its index at the PF, if it is a VF.
    pub vf_of: Option<(PciAddress, Option<VfIndex>)>,
    /// Whether it has the SR-IOV capability.
    pub is_pf: bool,
    /// Network devices in this network namespace, sorted by name, without their state.
    pub netdevs: Vec<Netdev>,
}

/// Reads one function; `None` if it does not exist.
///
/// # Errors
/// When an attribute is unreadable or torn.
pub fn presence(root: &HostRoot, address: PciAddress) -> Result<Option<Presence>, ScanError> {
    let device = Device::new(device_path(root, address));
    let look = || -> Result<Presence, AttributeError> {
        let physfn = device.link("physfn")?;
        let pf = physfn.as_ref().and_then(|pf| pf.parse().ok());
        Ok(Presence {
            address,
            driver: device.link("driver")?,
            vf_of: pf.map(|pf| (pf, vf_index(root, pf, address))),
            is_pf: pf.is_none() && device.path("sriov_totalvfs").exists(),
            netdevs: identities(&device, physfn.is_some())?,
        })
    };
    match look() {
        // All attributes of a missing function are absent.
        Ok(presence) if presence.driver.is_none() && !device.exists() => Ok(None),
        Ok(presence) => Ok(Some(presence)),
        Err(_) if !device.exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Interface index of the network device of a function, if the device is in this network namespace.
pub fn netdev_index(root: &HostRoot, address: PciAddress) -> Result<Option<u32>, ScanError> {
    let device = Device::new(device_path(root, address));
    Ok(first_index(&device)?)
}

/// Names of the devices that are stacked on the network devices of a function, for instance VLAN devices, bonds and bridges.
///
/// Only those in the same network namespace are visible.
pub fn upper_devices(root: &HostRoot, address: PciAddress) -> Result<Vec<RawName>, ScanError> {
    let device = Device::new(device_path(root, address));
    Ok(netdevs::uppers(&device)?)
}

/// The boot id; after a reboot it differs, and all settings are lost.
pub fn boot_id(root: &HostRoot) -> Result<String, ScanError> {
    let path = root.join("proc/sys/kernel/random/boot_id");
    // The kernel returns the whole UUID at once: one read is enough.
    let mut text = [0; 64];
    let length = fs::File::open(&path)
        .and_then(|mut file| file.read(&mut text))
        .map_err(|source| ScanError::Read { path, source })?;
    let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
    Ok(text.trim().to_owned())
}

/// Identity of a device on this boot: a VF that was removed and created again has another one at the same address.
///
/// The inode of the device's directory, which the kernel does not reuse (fs/kernfs/dir.c, `__kernfs_new_node`); `None` if there is no device.
pub fn incarnation(root: &HostRoot, address: PciAddress) -> Option<u64> {
    Device::new(device_path(root, address)).inode()
}

/// The base class in words, from `pci-info`.
pub fn class_name(class: PciClass) -> String {
    format!(
        "{:?}",
        pci_info::pci_enums::PciDeviceClass::from_code(class.base())
    )
}

fn devices(root: &HostRoot) -> PathBuf {
    root.join("sys/bus/pci/devices")
}

fn read(device: &Device, address: PciAddress) -> Result<Option<PciFunction>, ScanError> {
    let attributes = || -> Result<PciFunction, AttributeError> {
        let names = device.names(".")?;
        let has = |name: &str| names.iter().any(|other| other == name);
        let role = if has("physfn") || has("sriov_totalvfs") {
            role(device, &names)?
        } else {
            SriovRole::None
        };
        let is_vf = matches!(role, SriovRole::Vf { .. });
        let netdevs = netdevs::among(device, &names, is_vf)?;
        let rdma = if has("infiniband") {
            device.sorted("infiniband")?
        } else {
            Vec::new()
        };
        Ok(PciFunction {
            address,
            incarnation: 0,
            vendor: PciId(device.hexadecimal("vendor")?),
            device: PciId(device.hexadecimal("device")?),
            class: PciClass(device.hexadecimal("class")?),
            driver: device.link("driver")?,
            numa_node: device
                .decimal::<i64>("numa_node")?
                .and_then(|node| u32::try_from(node).ok()),
            pcie_root: if is_vf { None } else { device.pcie_root()? },
            iommu_group: iommu_group(device)?,
            speed: match &role {
                SriovRole::Pf { .. } => netdevs::speed(device, &netdevs)?,
                SriovRole::Vf { .. } | SriovRole::None => None,
            },
            netdevs,
            acpi_index: if has("acpi_index") {
                device.text("acpi_index")?
            } else {
                None
            },
            pkey: match rdma.first() {
                Some(rdma) => device.text(format!("infiniband/{rdma}/ports/1/pkeys/0"))?,
                None => None,
            },
            rdma_link: rdma::link(device, &rdma)?,
            rdma,
            // Read from their own bus.
            vdpa: Vec::new(),
            before_pod: None,
            role,
        })
    };
    let read = attributes();
    match (device.inode(), read) {
        // The function was removed before or while it was read: the result is outdated or incomplete.
        (None, _) => Ok(None),
        (Some(incarnation), Ok(function)) => Ok(Some(PciFunction {
            incarnation,
            ..function
        })),
        (Some(_), Err(error)) => Err(error.into()),
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

fn role(device: &Device, names: &[String]) -> Result<SriovRole, AttributeError> {
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
            vfs: virtfns(device, names)?,
        }),
    }
}

fn virtfns(
    device: &Device,
    names: &[String],
) -> Result<BTreeMap<VfIndex, PciAddress>, AttributeError> {
    let mut vfs = BTreeMap::new();
    for name in names {
        let index = name
            .strip_prefix("virtfn")
            .and_then(|index| index.parse().ok());
        let Some(index) = index else { continue };
        // A missing link is a VF that was removed meanwhile.
        let vf = device.link(name)?.and_then(|vf| vf.parse().ok());
        vfs.extend(vf.map(|vf| (VfIndex::new(index), vf)));
    }
    Ok(vfs)
}

/// Finds the PFs whose VFs are being created or removed.
///
/// `sriov_numvfs` changes after the last VF was added or removed; a link `virtfnN` is removed before its VF
/// and added after it (drivers/pci/iov.c, `sriov_enable`, `sriov_disable`, `pci_iov_add_virtfn`, `pci_iov_remove_virtfn`).
/// The functions of an unplugged card are removed one by one, the last one first, so that links of the PF have no target until it is removed
/// (`drivers/pci/hotplug/pciehp_pci.c`, `pciehp_unconfigure_device`).
fn in_transition(root: &HostRoot, snapshot: &mut HostSnapshot) -> BTreeMap<PciAddress, Transition> {
    let mut found = BTreeMap::new();
    let unreadable: BTreeSet<PciAddress> = snapshot
        .problems
        .iter()
        .filter_map(|problem| problem.device.parse().ok())
        .collect();
    let is_there = |vf| snapshot.functions.contains_key(vf) || unreadable.contains(vf);
    for (address, function) in &snapshot.functions {
        match &function.role {
            SriovRole::Pf { vfs, .. } => {
                let device = Device::new(device_path(root, *address));
                let names = device.names(".").unwrap_or_default();
                let now = names.iter().filter(|name| name.starts_with("virtfn"));
                let (now, said) = (now.count(), device.decimal::<usize>("sriov_numvfs"));
                let said = said.ok().flatten().unwrap_or(now);
                if now != vfs.len() || now != said {
                    found.insert(*address, Transition::Unfinished);
                } else if !vfs.values().all(is_there) {
                    found.insert(*address, Transition::Torn);
                }
                snapshot.lookups += device.lookups();
            }
            SriovRole::Vf { pf, index: None } if !unreadable.contains(pf) => {
                found.insert(*pf, Transition::Unfinished);
            }
            SriovRole::Vf { .. } | SriovRole::None => {}
        }
    }
    found
}

/// Finds the index of one VF: by the arithmetic of the SR-IOV capability, confirmed by one link, or by all links.
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

/// The directory of a device.
pub fn device_path(root: &HostRoot, address: PciAddress) -> PathBuf {
    devices(root).join(address.to_string())
}

#[cfg(test)]
mod tests;
