//! What a pod gets for its devices: environment, device nodes and device information, in the formats that users' programs read.
//!
//! Pure: the caller reads the device first, into [`Allocated`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sriov_config::resource_list::VdpaType;
use sriov_device_info::DeviceInfo;
use sriov_device_info::info::{Pci, Vdpa};
use sriov_host::snapshot::IommuGroup;
use sriov_host::sysfs::nodes::{DeviceNodes, RdmaKind, VdpaNode};
use sriov_inventory::id::DeviceId;
use sriov_inventory::pool::{Pool, PoolDevice};

const VHOST_NET: &str = "/dev/vhost-net";
const TUN: &str = "/dev/net/tun";
const RDMA_CM: &str = "/dev/infiniband/rdma_cm";
const VFIO: &str = "/dev/vfio/vfio";
const IOMMU: &str = "/dev/iommu";

/// A device at the time of the allocation.
#[derive(Clone, Debug)]
pub struct Allocated<'a> {
    /// The device as its pool has it.
    pub device: &'a PoolDevice,
    /// Its IOMMU group now.
    pub iommu_group: Option<IommuGroup>,
    /// Its character devices.
    pub nodes: DeviceNodes,
    /// Whether the kernel has the RDMA connection manager.
    pub has_rdma_cm: bool,
}

/// Why a device of the pool cannot be granted now: something that its resource promises is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// It was removed.
    #[error("device `{0}` is gone")]
    Gone(String),
    /// Another driver was bound to it.
    #[error("device `{id}` has the driver `{now}` instead of `{was}`")]
    Rebound {
        /// The device.
        id: String,
        /// Driver now.
        now: String,
        /// Driver at the scan.
        was: String,
    },
    /// A userspace driver whose device node is missing.
    #[error("device `{id}` has the driver `{driver}` and no {kind} device")]
    NoDeviceNode {
        /// The device.
        id: String,
        /// Its driver.
        driver: String,
        /// `vfio` or `uio`.
        kind: &'static str,
    },
    /// No RDMA device.
    #[error("device `{0}` has no RDMA device")]
    NoRdma(String),
    /// No vDPA device of the kind.
    #[error("device `{id}` has no vDPA device with the driver `{driver}`")]
    NoVdpa {
        /// The device.
        id: String,
        /// The driver of the kind that the resource requires.
        driver: &'static str,
    },
}

/// A device node that is passed with the rights to read and write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNode {
    /// Path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
}

/// What one device adds for the pod: providers of the INFO variable, and nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// By provider and key.
    pub providers: Map<String, Value>,
    /// Device nodes.
    pub nodes: Vec<DeviceNode>,
}

impl Allocated<'_> {
    /// Its id.
    pub fn id(&self) -> String {
        self.device.id.to_string()
    }

    /// Its vDPA device, when its resource requires one.
    fn vdpa(&self) -> Result<Option<&VdpaNode>, NotUsable> {
        let Some(kind) = self.device.extras.vdpa else {
            return Ok(None);
        };
        let driver = vdpa_driver(kind);
        let mut all = self.nodes.vdpa.iter();
        let found = all.find(|vdpa| {
            vdpa.driver.as_deref() == Some(driver)
                && (kind == VdpaType::Virtio || vdpa.vhost.is_some())
        });
        found.map(Some).ok_or_else(|| NotUsable::NoVdpa {
            id: self.id(),
            driver,
        })
    }
}

/// What one device adds for the pod.
///
/// # Errors
/// When it lacks what its resource promises.
pub fn share(pool: &Pool, allocated: &Allocated<'_>) -> Result<Share, NotUsable> {
    let mut share = Share::default();
    share.describe("generic", json!({ "deviceID": allocated.id() }));
    vfio(allocated, &mut share)?;
    uio(allocated, &mut share)?;
    if allocated.device.extras.rdma {
        rdma(allocated, &mut share)?;
    }
    if let Some(VdpaNode {
        vhost: Some(vhost), ..
    }) = allocated.vdpa()?
        && allocated.device.extras.vdpa == Some(VdpaType::Vhost)
    {
        let path = share.add_node(format!("/dev/{vhost}"));
        share.describe("vdpa", json!({ "mount": path }));
    }
    if allocated.device.extras.vhost_net {
        share.add_node(VHOST_NET);
        share.add_node(TUN);
        share.describe("vhost", json!({ "net-mount": VHOST_NET, "tun-mount": TUN }));
    }
    let extra = additional_info(pool, allocated.device);
    if !extra.is_empty() {
        share.describe("extra", json!(extra));
    }
    Ok(share)
}

impl Share {
    fn describe(&mut self, provider: &str, keys: Value) {
        self.providers.insert(provider.to_owned(), keys);
    }

    /// Adds a node that has the same path in the container; returns the path.
    fn add_node(&mut self, path: impl Into<String>) -> String {
        let path = path.into();
        self.add_node_as(path.clone(), path)
    }

    fn add_node_as(&mut self, host: String, container: String) -> String {
        self.nodes.push(DeviceNode {
            host,
            container: container.clone(),
        });
        container
    }
}

/// The group with its container device, and the iommufd device where the kernel has one: the program in the pod chooses.
fn vfio(allocated: &Allocated<'_>, share: &mut Share) -> Result<(), NotUsable> {
    if !allocated.device.driver.contains("vfio") {
        return Ok(());
    }
    let DeviceNodes {
        vfio_cdev,
        has_vfio_group,
        ..
    } = &allocated.nodes;
    let mut keys = Map::new();
    // A kernel without groups shows none; a kernel without iommufd devices always has groups.
    let group = allocated
        .iommu_group
        .filter(|_| *has_vfio_group || vfio_cdev.is_none());
    if let Some(group) = group {
        keys.insert("mount".to_owned(), json!(share.add_node(VFIO)));
        let in_container = format!("/dev/vfio/{}", group.number);
        let path = share.add_node_as(format!("/dev/vfio/{}", group.node()), in_container);
        keys.insert("dev-mount".to_owned(), json!(path));
    }
    if let Some(cdev) = vfio_cdev {
        keys.insert("iommufd-mount".to_owned(), json!(share.add_node(IOMMU)));
        let path = share.add_node(format!("/dev/vfio/devices/{cdev}"));
        keys.insert("cdev-mount".to_owned(), json!(path));
    }
    if keys.is_empty() {
        return Err(no_node(allocated, "vfio"));
    }
    share.describe("vfio", Value::Object(keys));
    Ok(())
}

fn uio(allocated: &Allocated<'_>, share: &mut Share) -> Result<(), NotUsable> {
    let Some(uio) = allocated.nodes.uio.first() else {
        return if allocated.device.driver.contains("uio") {
            Err(no_node(allocated, "uio"))
        } else {
            Ok(())
        };
    };
    let path = share.add_node(format!("/dev/{uio}"));
    share.describe("uio", json!({ "mount": path }));
    Ok(())
}

/// All nodes of all RDMA devices; the variable names those of the first one.
fn rdma(allocated: &Allocated<'_>, share: &mut Share) -> Result<(), NotUsable> {
    let Some(first) = allocated.nodes.rdma.first() else {
        return Err(NotUsable::NoRdma(allocated.id()));
    };
    let mut keys = Map::from_iter([("rdma_dev".to_owned(), json!(first.name))]);
    for (kind, node) in allocated.nodes.rdma.iter().flat_map(|rdma| &rdma.nodes) {
        let path = share.add_node(format!("/dev/infiniband/{node}"));
        let key = match kind {
            RdmaKind::Uverbs => "uverbs",
            RdmaKind::Umad => "umad",
            RdmaKind::Issm => "issm",
            RdmaKind::Ucm => continue,
        };
        keys.entry(key).or_insert_with(|| json!(path));
    }
    if allocated.has_rdma_cm {
        keys.insert("rdma_cm".to_owned(), json!(share.add_node(RDMA_CM)));
    }
    share.describe("rdma", Value::Object(keys));
    Ok(())
}

/// The content of the device-info file; the specification has no type for a subfunction.
///
/// # Errors
/// When the vDPA device that its resource promises is missing.
pub fn device_info(allocated: &Allocated<'_>) -> Result<Option<DeviceInfo>, NotUsable> {
    let Some(address) = allocated.device.id.address() else {
        return Ok(None);
    };
    let pf_pci_address = allocated.device.pf_address().map(|pf| pf.to_string());
    let representor_device = allocated
        .device
        .representor
        .as_ref()
        .map(ToString::to_string);
    let extras = allocated.device.extras;
    if let (Some(vdpa), Some(kind)) = (allocated.vdpa()?, extras.vdpa) {
        return Ok(Some(DeviceInfo::vdpa(Vdpa {
            parent_device: vdpa.name.clone(),
            driver: match kind {
                VdpaType::Vhost => "vhost".to_owned(),
                VdpaType::Virtio => "virtio".to_owned(),
            },
            path: vdpa.vhost.as_ref().map(|vhost| format!("/dev/{vhost}")),
            pci_address: Some(address.to_string()),
            pf_pci_address,
            representor_device,
        })));
    }
    let rdma: Vec<&str> = allocated
        .nodes
        .rdma
        .iter()
        .map(|rdma| rdma.name.as_str())
        .collect();
    Ok(Some(DeviceInfo::pci(Pci {
        pci_address: address.to_string(),
        pf_pci_address,
        representor_device,
        vhost_net: extras.vhost_net.then(|| VHOST_NET.to_owned()),
        rdma_device: (extras.rdma && !rdma.is_empty()).then(|| rdma.join(",")),
    })))
}

/// The entries of `additionalInfo`: of all devices, of the PF of a subfunction, and of this device; the last one wins.
fn additional_info<'a>(pool: &'a Pool, device: &PoolDevice) -> BTreeMap<&'a str, &'a str> {
    let of = |key: &str| pool.additional_info.get(key).into_iter().flatten();
    let parent = match &device.id {
        DeviceId::Subfunction(_) => device.pf_address(),
        DeviceId::Function(_) => None,
    };
    let parent = parent.map(|pf| pf.to_string()).unwrap_or_default();
    of("*")
        .chain(of(&parent))
        .chain(of(&device.id.to_string()))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// The kernel's driver of a kind of vDPA device (`drivers/vhost/vdpa.c`, `drivers/virtio/virtio_vdpa.c`).
fn vdpa_driver(kind: VdpaType) -> &'static str {
    match kind {
        VdpaType::Vhost => "vhost_vdpa",
        VdpaType::Virtio => "virtio_vdpa",
    }
}

fn no_node(allocated: &Allocated<'_>, kind: &'static str) -> NotUsable {
    NotUsable::NoDeviceNode {
        id: allocated.id(),
        driver: allocated.device.driver.to_string(),
        kind,
    }
}

#[cfg(test)]
mod tests;
