//! Devices that are held: they stay in the pool through which they were given, whatever happens to them, until they are released.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::resource_list::Publish;
use sriov_host::PciAddress;
use sriov_host::snapshot::{HostSnapshot, SriovRole};

use crate::id::DeviceId;
use crate::owners::{Holder, Owners};
use crate::pool::Pools;
use crate::unhealthy::Unhealthy;

/// The held devices, as they were when this process first saw them held.
#[derive(Clone, Debug, Default)]
pub struct HeldDevices(BTreeMap<DeviceId, AtAllocation>);

/// A device when this process first saw it held.
#[derive(Clone, Debug)]
struct AtAllocation {
    driver: String,
    incarnation: u64,
}

impl HeldDevices {
    /// Adds devices that are newly held, and drops released ones.
    pub fn remember(&mut self, snapshot: &HostSnapshot, owners: &Owners) {
        self.0.retain(|id, _| owners.is_held(id) != Some(false));
        for id in owners.held() {
            if let Some((Some(driver), incarnation)) = state(snapshot, id)
                && !self.0.contains_key(id)
            {
                let driver = driver.to_owned();
                let device = AtAllocation {
                    driver,
                    incarnation,
                };
                self.0.insert(id.clone(), device);
            }
        }
    }

    /// What happened to a held device since its allocation; absent when it is as it was.
    pub(crate) fn loss(&self, snapshot: &HostSnapshot, id: &DeviceId) -> Option<Unhealthy> {
        let Some((driver, incarnation)) = state(snapshot, id) else {
            return Some(Unhealthy::Gone);
        };
        let was = self.0.get(id);
        if was.is_some_and(|was| was.incarnation != incarnation) {
            return Some(Unhealthy::Remade);
        }
        let Some(now) = driver else {
            return Some(Unhealthy::NoDriver);
        };
        if let Some(was) = was.filter(|was| was.driver != now) {
            let (was, now) = (was.driver.clone(), now.to_owned());
            return Some(Unhealthy::DriverChanged { was, now });
        }
        let pf = pf_of(snapshot, id)?;
        let is_pf_missing = snapshot.function(pf).is_none();
        is_pf_missing.then_some(Unhealthy::PfMissing)
    }
}

/// Driver and incarnation of a device that is present.
fn state<'a>(snapshot: &'a HostSnapshot, id: &DeviceId) -> Option<(Option<&'a str>, u64)> {
    match id {
        DeviceId::Function(address) => {
            let function = snapshot.function(*address)?;
            Some((function.driver.as_deref(), function.incarnation))
        }
        DeviceId::Subfunction(name) => {
            let subfunction = snapshot.subfunctions.get(name)?;
            Some((subfunction.driver.as_deref(), 0))
        }
    }
}

/// Address of the PF of a VF or a subfunction that is present; the PF itself may be missing.
pub(crate) fn pf_of(snapshot: &HostSnapshot, id: &DeviceId) -> Option<PciAddress> {
    match id {
        DeviceId::Function(address) => match &snapshot.function(*address)?.role {
            SriovRole::Vf { pf, .. } => Some(*pf),
            SriovRole::Pf { .. } | SriovRole::None => None,
        },
        DeviceId::Subfunction(name) => Some(snapshot.subfunctions.get(name)?.pf),
    }
}

/// Keeps each held device in the pools through which it is held, and offers it in no other.
///
/// The kubelet counts allocations by resource, and would take a device that is no longer listed for a healthy one.
/// It does not count claims: a pool that the DRA driver published before, and the device plugin publishes now, offers no device of a claim.
pub(crate) fn keep_held(
    pools: &mut Pools,
    owners: &Owners,
    loss: impl Fn(&DeviceId) -> Option<Unhealthy>,
) {
    let mut homes: BTreeMap<DeviceId, usize> = BTreeMap::new();
    let mut names = Vec::new();
    for (index, pool) in pools.pools.iter().enumerate() {
        names.push((pool.name.to_string(), pool.publish));
        homes.extend(pool.devices.iter().map(|device| (device.id.clone(), index)));
    }
    for id in owners.held() {
        let home = homes.get(id).copied();
        let is_held_as = |(name, publish): &(String, Publish)| {
            let mut holders = owners.holders(id);
            holders.any(|holder| holder.resource() == name && is_counted(holder, *publish))
        };
        let loss = loss(id);
        let mut is_kept = false;
        for (index, (pool, held_as)) in pools.pools.iter_mut().zip(&names).enumerate() {
            if is_held_as(held_as) {
                is_kept = true;
                let left = (home != Some(index)).then_some(Unhealthy::LeftPool);
                let why = loss.clone().or(left);
                pool.unhealthy.extend(why.map(|why| (id.clone(), why)));
            }
        }
        let Some((pool, held_as)) =
            home.and_then(|home| Some((pools.pools.get_mut(home)?, names.get(home)?)))
        else {
            continue;
        };
        if is_held_as(held_as) {
            continue;
        }
        if is_kept {
            Arc::make_mut(&mut pool.devices).retain(|device| device.id != *id);
            pool.unhealthy.remove(id);
        } else if let Some(holder) = owners.holders(id).next() {
            let who = match holder {
                Holder::Claim(_) => format!("{holder} holds it"),
                Holder::Pod(_) | Holder::Granted(_) => {
                    format!("a pod holds it through `{}`", holder.resource())
                }
            };
            pool.unhealthy
                .insert(id.clone(), Unhealthy::HeldElsewhere(who));
        }
    }
}

/// Whether the front end of a pool counts the device of this holder as allocated.
fn is_counted(holder: &Holder, publish: Publish) -> bool {
    match (holder, publish) {
        (Holder::Claim(_), Publish::DevicePlugin) => false,
        (Holder::Claim(_), Publish::Dra) | (Holder::Pod(_) | Holder::Granted(_), _) => true,
    }
}
