//! Which device is in which pool, and why another is in none: data to data.

pub(crate) mod matching;

use std::collections::{BTreeMap, BTreeSet};

use sriov_config::ResourceList;
use sriov_config::resources::{DeviceType, Resource, VdpaType};
use sriov_host::snapshot::{HostSnapshot, PciFunction, SriovRole};
use sriov_host::{IfName, PciAddress, VfIndex};

/// The pools of a configuration on a machine, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// The pools.
    pub pools: Vec<Pool>,
    /// Devices that match the class of some resource and are in no pool.
    pub left_out: BTreeMap<PciAddress, LeftOut>,
}

/// A pool: the devices of one resource, ordered, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its resource.
    pub resource: Resource,
    /// Its devices.
    pub devices: Vec<PoolDevice>,
}

/// A device of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDevice {
    /// PCI address, which is its id for kubelet.
    pub address: PciAddress,
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
                devices: Vec::new(),
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
            Ok((pool, device)) => pool.devices.push(device),
            Err(why) => {
                plan.left_out.insert(function.address, why);
            }
        }
    }
    plan
}

fn place<'a>(
    snapshot: &HostSnapshot,
    function: &PciFunction,
    pools: &'a mut [Pool],
    uplinks: &BTreeSet<String>,
) -> Result<(&'a mut Pool, PoolDevice), LeftOut> {
    if function
        .netdevs
        .iter()
        .any(|netdev| uplinks.contains(netdev.name.as_str()))
    {
        return Err(LeftOut::Uplink);
    }
    if matches!(&function.role, SriovRole::Pf { vfs, .. } if !vfs.is_empty()) {
        return Err(LeftOut::PfWithVfs);
    }
    let driver = function.driver.clone().ok_or(LeftOut::NoDriver)?;
    for pool in pools {
        let of_class = is_of_class(function, &pool.resource);
        let mut selectors = pool.resource.selectors.iter();
        let Some(selector) =
            selectors.find(|selector| of_class && matching::matches(snapshot, function, selector))
        else {
            continue;
        };
        let pf = snapshot.pf_of(function);
        let gives = Gives {
            vhost_net: selector.net.need_vhost_net,
            rdma: selector.net.is_rdma,
            vdpa: selector.net.vdpa_type,
        };
        return Ok((
            pool,
            PoolDevice {
                address: function.address,
                driver,
                numa_node: function.numa_node,
                pf: pf.map(|pf| pf.address),
                representor: pf
                    .zip(vf_index(function))
                    .and_then(|(pf, index)| representor(pf, index)),
                gives,
            },
        ));
    }
    Err(LeftOut::NoSelector)
}

/// The network device of the PF that stands for a VF: `pf0vf3`, with a controller in front of it on a DPU `c1pf0vf3`
/// (Documentation/networking/representors.rst; net/devlink/port.c, `__devlink_port_phys_port_name_get`).
fn representor(pf: &PciFunction, index: VfIndex) -> Option<IfName> {
    let end = format!("vf{}", index.get());
    let stands_for = |name: &str| {
        name.strip_suffix(&end)
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
    let class = function.class.to_string();
    let is_named = |default: &str| {
        let mut named = resource.pci_classes.iter();
        if resource.pci_classes.is_empty() {
            class.starts_with(default)
        } else {
            named.any(|named| class.starts_with(named))
        }
    };
    match resource.device_type {
        DeviceType::NetDevice => is_named("02"),
        DeviceType::Accelerator => is_named("12"),
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
mod tests;
