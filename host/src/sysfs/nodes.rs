//! Names of the character devices of one function: uio, vfio, RDMA, vDPA.
//!
//! They are read from sysfs, because the `/dev` of a container is separate from that of the host.

use std::fs;

use super::attribute::{AttributeError, Device};
use super::{ScanError, buses, device_path};
use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::snapshot::IommuGroup;

/// Character devices of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNodes {
    /// Names of its UIO devices: the `uio0` of `/dev/uio0`.
    pub uio: Vec<String>,
    /// Its vfio device: the `vfio0` of `/dev/vfio/devices/vfio0`; `None` if the kernel creates no node for it.
    pub vfio_cdev: Option<String>,
    /// Whether its IOMMU group has a node in `/dev/vfio`.
    pub has_vfio_group: bool,
    /// Its RDMA devices, sorted by name.
    pub rdma: Vec<RdmaNodes>,
    /// Its vDPA devices, sorted by name.
    pub vdpa: Vec<VdpaNode>,
}

/// An RDMA device and its character devices in `/dev/infiniband`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaNodes {
    /// Its name, for instance `mlx5_2`.
    pub name: String,
    /// Names of its character devices by kind.
    pub nodes: Vec<(RdmaKind, String)>,
}

/// Kind of RDMA character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RdmaKind {
    /// `uverbsN`.
    Uverbs,
    /// `umadN`.
    Umad,
    /// `issmN`.
    Issm,
    /// `ucmN`.
    Ucm,
}

/// A vDPA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VdpaNode {
    /// Its name.
    pub name: String,
    /// Its driver, for instance `vhost_vdpa`.
    pub driver: Option<String>,
    /// Its character device: the `vhost-vdpa-0` of `/dev/vhost-vdpa-0`.
    pub vhost: Option<String>,
}

/// Kinds of character device that are expensive to find, and whether they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Character devices of RDMA.
    pub rdma: bool,
    /// Character devices of vDPA.
    pub vdpa: bool,
}

/// Facts about a device that can change while it is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceNow {
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub iommu_group: Option<IommuGroup>,
    /// Its character devices.
    pub nodes: DeviceNodes,
}

/// Reads one function and nothing else of the machine; `None` if it does not exist.
///
/// # Errors
/// When an existing attribute cannot be read.
pub fn function_now(
    root: &HostRoot,
    address: PciAddress,
    wanted: Wanted,
) -> Result<Option<DeviceNow>, ScanError> {
    let device = Device::new(device_path(root, address));
    let now = || -> Result<DeviceNow, AttributeError> {
        let mut now = DeviceNow {
            driver: device.link("driver")?,
            iommu_group: super::iommu_group(&device)?,
            nodes: of_device(&device, wanted)?,
        };
        if wanted.vdpa {
            now.nodes.vdpa = vdpa(root, address)?;
        }
        let group = now.iommu_group.map(IommuGroup::node);
        let class = root.join("sys/class/vfio");
        now.nodes.has_vfio_group = group.is_some_and(|name| class.join(name).exists());
        Ok(now)
    };
    if_there(&device, now())
}

/// Reads a subfunction, by the name of its auxiliary device; `None` if it does not exist.
///
/// # Errors
/// When an existing attribute cannot be read.
pub fn subfunction_now(
    root: &HostRoot,
    name: &str,
    wanted: Wanted,
) -> Result<Option<DeviceNow>, ScanError> {
    let device = Device::new(root.join("sys/bus/auxiliary/devices").join(name));
    let now = || -> Result<DeviceNow, AttributeError> {
        Ok(DeviceNow {
            driver: device.link("driver")?,
            iommu_group: None,
            nodes: of_device(&device, wanted)?,
        })
    };
    if_there(&device, now())
}

/// Discards the result if the device was removed meanwhile.
fn if_there(
    device: &Device,
    now: Result<DeviceNow, AttributeError>,
) -> Result<Option<DeviceNow>, ScanError> {
    if device.exists() {
        Ok(Some(now?))
    } else {
        Ok(None)
    }
}

fn of_device(device: &Device, wanted: Wanted) -> Result<DeviceNodes, AttributeError> {
    let mut nodes = DeviceNodes {
        uio: device.sorted("uio")?,
        ..DeviceNodes::default()
    };
    if wanted.rdma {
        nodes.rdma = rdma(device)?;
    }
    // Without CONFIG_VFIO_DEVICE_CDEV the device has no number (drivers/vfio/device_cdev.c, `vfio_init_device_cdev`).
    nodes.vfio_cdev = device
        .sorted("vfio-dev")?
        .into_iter()
        .find(|name| device.path(format!("vfio-dev/{name}/dev")).exists());
    Ok(nodes)
}

/// Whether the kernel has this miscellaneous character device, for instance `rdma_cm`.
pub fn has_misc(root: &HostRoot, name: &str) -> bool {
    root.join("sys/class/misc").join(name).exists()
}

/// The children of a function in the classes of RDMA; the attribute `ibdev` of each names its RDMA device.
fn rdma(device: &Device) -> Result<Vec<RdmaNodes>, AttributeError> {
    let mut all: Vec<RdmaNodes> = device
        .sorted("infiniband")?
        .into_iter()
        .map(|name| RdmaNodes {
            name,
            nodes: Vec::new(),
        })
        .collect();
    if all.is_empty() {
        return Ok(all);
    }
    for class in ["infiniband_verbs", "infiniband_mad", "infiniband_cm"] {
        for node in device.sorted(class)? {
            let Some(kind) = RdmaKind::of(&node) else {
                continue;
            };
            let owner = device.text(format!("{class}/{node}/ibdev"))?;
            let owner = all
                .iter_mut()
                .find(|rdma| owner.as_deref() == Some(&rdma.name));
            if let Some(owner) = owner {
                owner.nodes.push((kind, node));
            }
        }
    }
    Ok(all)
}

impl RdmaKind {
    fn of(node: &str) -> Option<Self> {
        let kind = node.trim_end_matches(|c: char| c.is_ascii_digit());
        match kind {
            "uverbs" => Some(Self::Uverbs),
            "umad" => Some(Self::Umad),
            "issm" => Some(Self::Issm),
            "ucm" => Some(Self::Ucm),
            _ => None,
        }
    }
}

/// The devices on the bus `vdpa` below the function; with `vhost_vdpa` each has a child for its character device.
fn vdpa(root: &HostRoot, address: PciAddress) -> Result<Vec<VdpaNode>, AttributeError> {
    let bus = Device::new(root.join("sys/bus/vdpa/devices"));
    let mut found = Vec::new();
    for name in bus.sorted(".")? {
        let target = fs::read_link(bus.path(&name)).unwrap_or_default();
        if buses::parent(&target) != Some(address) {
            continue;
        }
        let children = bus.sorted(&name)?;
        found.push(VdpaNode {
            driver: bus.link(&format!("{name}/driver"))?,
            vhost: children
                .into_iter()
                .find(|child| child.starts_with("vhost-vdpa-")),
            name,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    const ADDRESS: &str = "0000:01:10.0";

    fn read(dirs: &[&str], files: &[(&str, &str)], links: &[(&str, &str)]) -> DeviceNodes {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path());
        let device = device_path(&root, ADDRESS.parse().unwrap());
        let at = |path: &str| {
            let path = if path.starts_with('/') {
                root.join(path)
            } else {
                device.join(path)
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for path in dirs {
            fs::create_dir_all(at(path)).unwrap();
        }
        for (path, text) in files {
            fs::write(at(path), text).unwrap();
        }
        for (path, target) in links {
            symlink(Path::new(target), at(path)).unwrap();
        }
        symlink("../7", at("iommu_group")).unwrap();
        let wanted = Wanted {
            rdma: true,
            vdpa: true,
        };
        let now = function_now(&root, ADDRESS.parse().unwrap(), wanted).unwrap();
        now.unwrap().nodes
    }

    #[test]
    fn function_without_character_devices_has_none() {
        assert_eq!(read(&[], &[], &[]), DeviceNodes::default());
    }

    #[test]
    fn vfio_has_a_group_a_device_or_both() {
        let found = read(
            &["/sys/class/vfio/7"],
            &[("vfio-dev/vfio3/dev", "511:3")],
            &[],
        );
        assert_eq!(
            (found.vfio_cdev.as_deref(), found.has_vfio_group),
            (Some("vfio3"), true)
        );
        let found = read(&["vfio-dev/vfio3", "/sys/class/vfio/8"], &[], &[]);
        assert_eq!((found.vfio_cdev, found.has_vfio_group), (None, false));
    }

    #[test]
    fn rdma_device_has_the_nodes_with_its_name() {
        let found = read(
            &["infiniband/mlx5_2"],
            &[
                ("infiniband_verbs/uverbs2/ibdev", "mlx5_2\n"),
                ("infiniband_mad/umad2/ibdev", "mlx5_2\n"),
                ("infiniband_mad/issm2/ibdev", "mlx5_2\n"),
                ("infiniband_mad/abi_version", "5\n"),
                ("infiniband_cm/ucm9/ibdev", "mlx5_9\n"),
            ],
            &[],
        );
        let [rdma] = found.rdma.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(rdma.name, "mlx5_2");
        assert_eq!(
            rdma.nodes,
            [
                (RdmaKind::Uverbs, "uverbs2".to_owned()),
                (RdmaKind::Issm, "issm2".to_owned()),
                (RdmaKind::Umad, "umad2".to_owned())
            ]
        );
    }

    #[test]
    fn vdpa_device_of_any_name_is_found() {
        let other = "../../../devices/pci0000:00/0000:01:10.2/other";
        let found = read(
            &[
                "/sys/devices/pci0000:00/0000:01:10.0/mine/vhost-vdpa-4",
                "uio/uio1",
            ],
            &[],
            &[
                (
                    "/sys/bus/vdpa/devices/mine",
                    "../../../devices/pci0000:00/0000:01:10.0/mine",
                ),
                ("/sys/bus/vdpa/devices/other", other),
                (
                    "/sys/devices/pci0000:00/0000:01:10.0/mine/driver",
                    "../../../../bus/vdpa/drivers/vhost_vdpa",
                ),
            ],
        );
        let vdpa = VdpaNode {
            name: "mine".into(),
            driver: Some("vhost_vdpa".into()),
            vhost: Some("vhost-vdpa-4".into()),
        };
        assert_eq!(
            (found.vdpa, found.uio),
            (vec![vdpa], vec!["uio1".to_owned()])
        );
    }

    #[test]
    fn subfunction_has_its_own_rdma_device() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path());
        let device = root.join("sys/bus/auxiliary/devices/mlx5_core.sf.4");
        fs::create_dir_all(device.join("infiniband/mlx5_9")).unwrap();
        symlink("../drivers/mlx5_core.sf", device.join("driver")).unwrap();
        let wanted = Wanted {
            rdma: true,
            vdpa: false,
        };
        let now = subfunction_now(&root, "mlx5_core.sf.4", wanted)
            .unwrap()
            .unwrap();
        assert_eq!(now.driver.as_deref(), Some("mlx5_core.sf"));
        assert_eq!(now.nodes.rdma[0].name, "mlx5_9");
        assert_eq!(
            subfunction_now(&root, "mlx5_core.sf.5", wanted).unwrap(),
            None
        );
    }
}
