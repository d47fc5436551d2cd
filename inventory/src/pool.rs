//! A pool: the devices of one resource, with everything that a front end needs to offer them.

mod example;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sriov_config::resource_list::{PfHealth, Publish, ResourceName, VdpaType};
use sriov_host::snapshot::{LinkType, PciId};
use sriov_host::{IfName, PciAddress, PcieRoot, VfIndex};

use crate::id::DeviceId;
use crate::node_use::NodeUse;
use crate::unhealthy::Unhealthy;

/// The pools of a configuration on a machine, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// One pool for each resource, possibly empty.
    pub pools: Vec<Pool>,
    /// Devices that match the class of some resource and are in no pool.
    pub left_out: BTreeMap<DeviceId, LeftOut>,
    /// Devices of a pool that the node itself uses: a resource names them by their address.
    pub in_use: BTreeMap<DeviceId, NodeUse>,
}

/// The texts of `additionalInfo`, by PCI address or `*`, then by key.
pub type AdditionalInfo = BTreeMap<String, BTreeMap<String, String>>;

/// The devices of one resource, sorted by id, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name of the resource.
    pub name: ResourceName,
    /// What a healthy VF of this pool needs of its PF.
    pub pf_health: PfHealth,
    /// The front end that publishes it.
    pub publish: Publish,
    /// Texts for the environment of pods.
    pub additional_info: Arc<AdditionalInfo>,
    /// The devices; shared by the plan, the offer and what was sent, as there may be thousands.
    pub devices: Arc<Vec<PoolDevice>>,
    /// Devices that no pod could use now, including removed ones that are still held.
    pub unhealthy: BTreeMap<DeviceId, Unhealthy>,
}

impl Pool {
    /// All devices that are advertised, healthy or not.
    pub fn ids(&self) -> BTreeSet<&DeviceId> {
        let devices = self.devices.iter().map(|device| &device.id);
        devices.chain(self.unhealthy.keys()).collect()
    }

    /// Its device with this id.
    pub fn device(&self, id: &DeviceId) -> Option<&PoolDevice> {
        self.devices.iter().find(|device| device.id == *id)
    }

    /// The devices that a pod could use now.
    pub fn healthy(&self) -> impl Iterator<Item = &PoolDevice> {
        let is_healthy = |device: &&PoolDevice| !self.unhealthy.contains_key(&device.id);
        self.devices.iter().filter(is_healthy)
    }
}

/// A device of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDevice {
    /// Its id, unique on the node.
    pub id: DeviceId,
    /// The driver that was bound to it at the scan; shared by the devices with the same driver.
    pub driver: Arc<str>,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// Root complex above it; absent when sysfs does not show it.
    pub pcie_root: Option<PcieRoot>,
    /// The PF of a VF or a subfunction; shared by its devices.
    pub pf: Option<Arc<Pf>>,
    /// Vendor id; a subfunction has that of its PF.
    pub vendor: PciId,
    /// Device id; a subfunction has that of its PF.
    pub device: PciId,
    /// Index of a VF at its PF.
    pub vf_index: Option<VfIndex>,
    /// Link type; absent when neither the device nor its PF has a network device.
    pub link_type: Option<LinkType>,
    /// Whether it has an RDMA device.
    pub has_rdma: bool,
    /// Name of its representor in switchdev mode.
    pub representor: Option<IfName>,
    /// What its selector adds for the pod.
    pub extras: Extras,
}

impl PoolDevice {
    /// Address of its PF.
    pub fn pf_address(&self) -> Option<PciAddress> {
        self.pf.as_ref().map(|pf| pf.address)
    }
}

/// The PF of some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pf {
    /// Its PCI address.
    pub address: PciAddress,
    /// Name of its network device, in switchdev mode that of the uplink; absent while a userspace driver is bound.
    pub name: Option<IfName>,
    /// Vendor id.
    pub vendor: PciId,
    /// Device id.
    pub device: PciId,
    /// Speed of its link in Mbit/s; absent while the link is down.
    pub speed: Option<u32>,
    /// Whether its VFs and subfunctions are ports of a switch with representors.
    pub is_switchdev: bool,
}

/// What a selector adds for the pod, apart from the device itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `/dev/vhost-net` and `/dev/net/tun`.
    pub vhost_net: bool,
    /// The RDMA character devices.
    pub rdma: bool,
    /// The vDPA device of this kind.
    pub vdpa: Option<VdpaType>,
}

/// Why a device is in no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// The node itself uses it.
    #[error("{0}")]
    Uplink(NodeUse),
    /// It is a PF that has VFs.
    #[error("it is a PF with VFs")]
    PfWithVfs,
    /// It is a PF without VFs, and a resource is for its VFs.
    #[error("it is a PF without VFs, and `pfNames` and `rootDevices` select VFs")]
    PfWithoutVfs,
    /// Its PF was removed.
    #[error("its PF is gone")]
    NoPf,
    /// No driver is bound to it.
    #[error("no driver is bound to it")]
    NoDriver,
    /// No selector matches it.
    #[error("no selector matches it")]
    NoSelector,
}

impl LeftOut {
    /// The reason as one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Uplink(node_use) => node_use.word(),
            Self::PfWithVfs => "pf_with_vfs",
            Self::PfWithoutVfs => "pf_without_vfs",
            Self::NoPf => "no_pf",
            Self::NoDriver => "no_driver",
            Self::NoSelector => "no_selector",
        }
    }
}
