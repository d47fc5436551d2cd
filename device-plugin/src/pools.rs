//! Which device is in which pool, and why another is in none: data to data.

mod id;
pub(crate) mod matching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sriov_config::ResourceList;
use sriov_config::resources::{DeviceType, Resource, VdpaType};
use sriov_host::snapshot::{HostSnapshot, Netdev, PciFunction, SriovRole, Subfunction};
use sriov_host::{IfName, PciAddress, VfIndex};

pub use self::id::{DeviceId, InvalidDeviceId};
use self::matching::Candidate;
use crate::health::Unhealthy;

/// The pools of a configuration on a machine, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// The pools.
    pub pools: Vec<Pool>,
    /// Devices that match the class of some resource and are in no pool.
    pub left_out: BTreeMap<DeviceId, LeftOut>,
}

/// A pool: the devices of one resource, ordered, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its resource.
    pub resource: Resource,
    /// Its devices; the plan, what is offered and what was sent share them, for there may be thousands.
    pub devices: Arc<Vec<PoolDevice>>,
    /// Those that no pod could use now; also those that are no longer there while a pod holds them.
    pub unhealthy: BTreeMap<DeviceId, Unhealthy>,
}

impl Pool {
    /// All devices that kubelet is told of.
    pub fn ids(&self) -> BTreeSet<&DeviceId> {
        let devices = self.devices.iter().map(|device| &device.id);
        devices.chain(self.unhealthy.keys()).collect()
    }

    /// Those of them that a pod could use now.
    pub fn healthy(&self) -> impl Iterator<Item = &PoolDevice> {
        let is_healthy = |device: &&PoolDevice| !self.unhealthy.contains_key(&device.id);
        self.devices.iter().filter(is_healthy)
    }
}

/// A device of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDevice {
    /// Its id for kubelet.
    pub id: DeviceId,
    /// Driver that it had.
    pub driver: String,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// Its PF.
    pub pf: Option<PciAddress>,
    /// Name of its representor in switchdev mode.
    pub representor: Option<IfName>,
    /// What the selector that chose it gives to the pod beside the device.
    pub gives: Gives,
}

/// What a selector gives to the pod beside the device itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gives {
    /// `/dev/vhost-net` and `/dev/net/tun`.
    pub vhost_net: bool,
    /// The RDMA character devices.
    pub rdma: bool,
    /// The vDPA device of this kind.
    pub vdpa: Option<VdpaType>,
}

/// Why a device is in no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// It carries a default route, or what does stands on it.
    #[error("it carries a default route")]
    Uplink,
    /// It is a PF that has VFs.
    #[error("it is a PF with VFs")]
    PfWithVfs,
    /// Its PF is gone.
    #[error("its PF is gone")]
    NoPf,
    /// No driver is bound to it.
    #[error("no driver is bound to it")]
    NoDriver,
    /// No selector matches it.
    #[error("no selector matches it")]
    NoSelector,
}

/// Gives each device to the first resource with a selector that matches it.
pub fn plan_pools(
    snapshot: &HostSnapshot,
    config: &ResourceList,
    uplinks: &BTreeSet<String>,
) -> Pools {
    let mut plan = Pools {
        pools: config
            .resources
            .iter()
            .map(|resource| Pool {
                resource: resource.clone(),
                devices: Arc::default(),
                unhealthy: BTreeMap::new(),
            })
            .collect(),
        left_out: BTreeMap::new(),
    };
    for function in snapshot.functions.values() {
        if !plan
            .pools
            .iter()
            .any(|pool| is_of_class(function, &pool.resource))
        {
            continue;
        }
        match place(snapshot, function, &mut plan.pools, uplinks) {
            Ok((pool, device)) => Arc::make_mut(&mut pool.devices).push(device),
            Err(why) => {
                let id = DeviceId::Function(function.address);
                plan.left_out.insert(id, why);
            }
        }
    }
    let is_aux = |pool: &Pool| pool.resource.device_type == DeviceType::AuxNetDevice;
    if plan.pools.iter().any(is_aux) {
        for subfunction in snapshot.subfunctions.values() {
            match place_subfunction(snapshot, subfunction, &mut plan.pools, uplinks) {
                Ok((pool, device)) => Arc::make_mut(&mut pool.devices).push(device),
                Err(why) => {
                    let id = DeviceId::Subfunction(subfunction.name.clone());
                    plan.left_out.insert(id, why);
                }
            }
        }
    }
    for pool in &mut plan.pools {
        Arc::make_mut(&mut pool.devices).shrink_to_fit();
    }
    plan
}

fn place<'a>(
    snapshot: &HostSnapshot,
    function: &PciFunction,
    pools: &'a mut [Pool],
    uplinks: &BTreeSet<String>,
) -> Result<(&'a mut Pool, PoolDevice), LeftOut> {
    ensure_no_uplink(&function.netdevs, uplinks)?;
    if matches!(&function.role, SriovRole::Pf { vfs, .. } if !vfs.is_empty()) {
        return Err(LeftOut::PfWithVfs);
    }
    let driver = function.driver.clone().ok_or(LeftOut::NoDriver)?;
    let candidate = Candidate::function(snapshot, function);
    let (pool, gives) = choose(&candidate, pools)?;
    let pf = snapshot.pf_of(function);
    let device = PoolDevice {
        id: DeviceId::Function(function.address),
        driver,
        numa_node: function.numa_node,
        pf: pf.map(|pf| pf.address),
        representor: pf
            .zip(vf_index(function))
            .and_then(|(pf, index)| representor(pf, &format!("vf{}", index.get()))),
        gives,
    };
    Ok((pool, device))
}

/// A PF that has VFs or carries the default route can have subfunctions that are offered.
fn place_subfunction<'a>(
    snapshot: &HostSnapshot,
    subfunction: &Subfunction,
    pools: &'a mut [Pool],
    uplinks: &BTreeSet<String>,
) -> Result<(&'a mut Pool, PoolDevice), LeftOut> {
    ensure_no_uplink(&subfunction.netdevs, uplinks)?;
    let driver = subfunction.driver.clone().ok_or(LeftOut::NoDriver)?;
    let candidate = Candidate::subfunction(snapshot, subfunction).ok_or(LeftOut::NoPf)?;
    let (pool, gives) = choose(&candidate, pools)?;
    let device = PoolDevice {
        id: DeviceId::Subfunction(subfunction.name.clone()),
        driver,
        numa_node: candidate.hardware.numa_node,
        pf: Some(subfunction.pf),
        representor: representor(candidate.hardware, &format!("sf{}", subfunction.sfnum)),
        gives,
    };
    Ok((pool, device))
}

fn ensure_no_uplink(netdevs: &[Netdev], uplinks: &BTreeSet<String>) -> Result<(), LeftOut> {
    let mut names = netdevs.iter().map(|netdev| netdev.name.as_str());
    if names.any(|name| uplinks.contains(name)) {
        return Err(LeftOut::Uplink);
    }
    Ok(())
}

/// The first pool with a selector that matches; the selector says what it gives.
fn choose<'a>(
    candidate: &Candidate<'_>,
    pools: &'a mut [Pool],
) -> Result<(&'a mut Pool, Gives), LeftOut> {
    let meant = |pool: &&mut Pool| candidate.is_for(&pool.resource);
    for pool in pools.iter_mut().filter(meant) {
        let mut selectors = pool.resource.selectors.iter();
        if let Some(selector) = selectors.find(|selector| candidate.matches(selector)) {
            let gives = Gives {
                vhost_net: selector.net.need_vhost_net,
                rdma: selector.net.is_rdma,
                vdpa: selector.net.vdpa_type,
            };
            return Ok((pool, gives));
        }
    }
    Err(LeftOut::NoSelector)
}

/// The network device of the PF that stands for a VF or a subfunction: `pf0vf3`, `pf0sf88`, with a controller in front of it on a DPU `c1pf0vf3`
/// (Documentation/networking/representors.rst; net/devlink/port.c, `__devlink_port_phys_port_name_get`).
fn representor(pf: &PciFunction, end: &str) -> Option<IfName> {
    let stands_for = |name: &str| {
        name.strip_suffix(end)
            .and_then(|rest| {
                rest.trim_end_matches(|c: char| c.is_ascii_digit())
                    .strip_suffix("pf")
            })
            .is_some_and(|controller| controller.is_empty() || controller.starts_with('c'))
    };
    let mut netdevs = pf.netdevs.iter();
    let found = netdevs.find(|netdev| {
        netdev.phys_switch_id.is_some() && netdev.phys_port_name.as_deref().is_some_and(stands_for)
    });
    found.map(|netdev| netdev.name.clone())
}

/// Base classes of the PCI Code and ID Assignment Specification: 02 network, 12 processing accelerators; or those that the resource names.
pub(crate) fn is_of_class(function: &PciFunction, resource: &Resource) -> bool {
    let is_named = |default: u8| {
        if resource.pci_classes.is_empty() {
            return function.class.base() == default;
        }
        let class = function.class.to_string();
        let mut named = resource.pci_classes.iter();
        named.any(|named| class.starts_with(named))
    };
    match resource.device_type {
        DeviceType::NetDevice => is_named(0x02),
        DeviceType::Accelerator => is_named(0x12),
        // Subfunctions are no PCI functions.
        DeviceType::AuxNetDevice => false,
    }
}

fn vf_index(function: &PciFunction) -> Option<VfIndex> {
    match &function.role {
        SriovRole::Vf { index, .. } => *index,
        SriovRole::Pf { .. } | SriovRole::None => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
