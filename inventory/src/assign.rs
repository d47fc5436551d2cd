//! Assigns each device to a pool, and states why a device is in none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sriov_config::ResourceList;
use sriov_config::resource_list::{DeviceType, Resource, Selector};
use sriov_host::PciAddress;
use sriov_host::snapshot::{HostSnapshot, Netdev, PciFunction, SriovRole, Subfunction};

use crate::candidate::{Candidate, is_of_class, vf_index};
use crate::id::DeviceId;
use crate::node_use::{NodeUse, NodeUses};
use crate::pool::{Extras, LeftOut, Pf, Pool, PoolDevice, Pools};
use crate::representor::representor;
use crate::selector_match::{Condition, conditions};

/// Assigns each device to the first resource with a selector that matches it.
///
/// A function whose network device is in `uplinks` is in no pool, unless a selector names its address.
pub fn plan_pools(snapshot: &HostSnapshot, config: &ResourceList, uplinks: &NodeUses) -> Pools {
    let mut plan = Plan {
        snapshot,
        uplinks,
        drafts: config.resources.iter().map(Draft::of).collect(),
        drivers: BTreeSet::new(),
        pfs: BTreeMap::new(),
        in_use: BTreeMap::new(),
    };
    let mut left_out = BTreeMap::new();
    for function in snapshot.functions.values() {
        if let (true, Err(why)) = (plan.serves(function), plan.place(function)) {
            left_out.insert(DeviceId::Function(function.address), why);
        }
    }
    if plan.serves_subfunctions() {
        for subfunction in snapshot.subfunctions.values() {
            if let Err(why) = plan.place_subfunction(subfunction) {
                left_out.insert(DeviceId::Subfunction(subfunction.name.clone()), why);
            }
        }
    }
    Pools {
        pools: plan.drafts.into_iter().map(Draft::into_pool).collect(),
        left_out,
        in_use: plan.in_use,
    }
}

/// The assignment in progress.
struct Plan<'a> {
    snapshot: &'a HostSnapshot,
    uplinks: &'a NodeUses,
    drafts: Vec<Draft<'a>>,
    /// Each driver's name once, whatever the number of its devices.
    drivers: BTreeSet<Arc<str>>,
    /// The PFs of the devices so far.
    pfs: BTreeMap<PciAddress, Arc<Pf>>,
    /// Devices in a draft that the node itself uses.
    in_use: BTreeMap<DeviceId, NodeUse>,
}

/// A pool in progress, with the selectors of its resource.
struct Draft<'a> {
    resource: &'a Resource,
    selectors: Vec<(&'a Selector, Vec<Condition<'a>>)>,
    devices: Vec<PoolDevice>,
}

impl Plan<'_> {
    fn serves(&self, function: &PciFunction) -> bool {
        let mut drafts = self.drafts.iter();
        drafts.any(|draft| is_of_class(function, draft.resource))
    }

    fn serves_subfunctions(&self) -> bool {
        let mut drafts = self.drafts.iter();
        drafts.any(|draft| draft.resource.device_type == DeviceType::AuxNetDevice)
    }

    fn place(&mut self, function: &PciFunction) -> Result<(), LeftOut> {
        let node_use = self.node_use(&function.netdevs);
        if matches!(&function.role, SriovRole::Pf { vfs, .. } if !vfs.is_empty()) {
            return Err(node_use.map_or(LeftOut::PfWithVfs, LeftOut::Uplink));
        }
        let driver = function.driver.as_deref().ok_or(LeftOut::NoDriver)?;
        let candidate = Candidate::function(self.snapshot, function);
        let pf = self.snapshot.pf_of(function);
        let vf_index = vf_index(function);
        let port = pf.zip(vf_index);
        let device = PoolDevice {
            id: DeviceId::Function(function.address),
            driver: self.shared_driver(driver),
            numa_node: function.numa_node,
            pcie_root: candidate.pf.pcie_root,
            pf: pf.map(|pf| self.shared_pf(pf)),
            vendor: function.vendor,
            device: function.device,
            vf_index,
            link_type: candidate.link_type,
            has_rdma: candidate.has_rdma,
            representor: port.and_then(|(pf, vf)| representor(pf, &format!("vf{}", vf.get()))),
            extras: Extras::default(),
        };
        self.assign(&candidate, device, node_use)
    }

    /// Places a subfunction; unlike its PF it can be offered when the PF has VFs or carries the default route.
    fn place_subfunction(&mut self, subfunction: &Subfunction) -> Result<(), LeftOut> {
        if let Some(node_use) = self.node_use(&subfunction.netdevs) {
            return Err(LeftOut::Uplink(node_use));
        }
        let driver = subfunction.driver.as_deref().ok_or(LeftOut::NoDriver)?;
        let candidate = Candidate::subfunction(self.snapshot, subfunction).ok_or(LeftOut::NoPf)?;
        let pf = candidate.pf;
        let device = PoolDevice {
            id: DeviceId::Subfunction(subfunction.name.clone()),
            driver: self.shared_driver(driver),
            numa_node: pf.numa_node,
            pcie_root: pf.pcie_root,
            pf: Some(self.shared_pf(pf)),
            vendor: pf.vendor,
            device: pf.device,
            vf_index: None,
            link_type: candidate.link_type,
            has_rdma: candidate.has_rdma,
            representor: representor(pf, &format!("sf{}", subfunction.sfnum)),
            extras: Extras::default(),
        };
        self.assign(&candidate, device, None)
    }

    /// The use of one of these network devices by the node.
    fn node_use(&self, netdevs: &[Netdev]) -> Option<NodeUse> {
        let mut names = netdevs.iter().map(|netdev| netdev.name.as_str());
        names.find_map(|name| self.uplinks.get(name)).cloned()
    }

    fn shared_driver(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.drivers.get(name) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = name.into();
        self.drivers.insert(Arc::clone(&shared));
        shared
    }

    fn shared_pf(&mut self, pf: &PciFunction) -> Arc<Pf> {
        let shared = self.pfs.entry(pf.address).or_insert_with(|| {
            Arc::new(Pf {
                address: pf.address,
                name: pf.uplink().map(|netdev| netdev.name.clone()),
                vendor: pf.vendor,
                device: pf.device,
                speed: pf.speed,
                is_switchdev: pf.is_switchdev(),
            })
        });
        Arc::clone(shared)
    }

    /// Adds a device to the first draft with a selector that matches; the selector determines the extras.
    ///
    /// A device that the node uses needs a selector that names its address.
    fn assign(
        &mut self,
        candidate: &Candidate<'_>,
        mut device: PoolDevice,
        node_use: Option<NodeUse>,
    ) -> Result<(), LeftOut> {
        let mut is_wanted_for_vfs = false;
        let drafts = self.drafts.iter_mut();
        for draft in drafts.filter(|draft| candidate.is_for(draft.resource)) {
            let named_only = node_use.is_some();
            if let Some(selector) = draft.selector_for(candidate, named_only) {
                device.extras = Extras {
                    vhost_net: selector.net.need_vhost_net,
                    rdma: selector.net.is_rdma,
                    vdpa: selector.net.vdpa_type,
                };
                let used = node_use.map(|node_use| (device.id.clone(), node_use));
                self.in_use.extend(used);
                draft.devices.push(device);
                return Ok(());
            }
            is_wanted_for_vfs |= candidate.can_have_vfs && draft.names_pf(candidate);
        }
        Err(match node_use {
            Some(node_use) => LeftOut::Uplink(node_use),
            None if is_wanted_for_vfs => LeftOut::PfWithoutVfs,
            None => LeftOut::NoSelector,
        })
    }
}

impl<'a> Draft<'a> {
    fn of(resource: &'a Resource) -> Self {
        let selectors = resource.selectors.iter();
        Self {
            resource,
            selectors: selectors
                .map(|selector| (selector, conditions(selector)))
                .collect(),
            devices: Vec::new(),
        }
    }

    /// The first selector of which all conditions hold; with `named_only` the first that has `pciAddresses`.
    fn selector_for(&self, candidate: &Candidate<'_>, named_only: bool) -> Option<&'a Selector> {
        let selectors = self.selectors.iter();
        let mut selectors =
            selectors.filter(|(selector, _)| !named_only || !selector.pci_addresses.is_empty());
        let holds = |condition: &Condition<'_>| condition.matches(candidate);
        let found = selectors.find(|(_, conditions)| conditions.iter().all(holds));
        found.map(|(selector, _)| *selector)
    }

    /// Whether a selector names this PF, to select VFs.
    fn names_pf(&self, candidate: &Candidate<'_>) -> bool {
        let mut selectors = self.selectors.iter();
        selectors.any(|(_, conditions)| {
            let named = conditions.iter();
            let mut named = named
                .filter_map(|condition| condition.names_pf(candidate))
                .peekable();
            named.peek().is_some() && named.all(|is_named| is_named)
        })
    }

    fn into_pool(mut self) -> Pool {
        self.devices.shrink_to_fit();
        Pool {
            name: self.resource.name.clone(),
            pf_health: self.resource.pf_health,
            publish: self.resource.publish,
            additional_info: Arc::new(self.resource.additional_info.clone()),
            devices: Arc::new(self.devices),
            unhealthy: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests;
