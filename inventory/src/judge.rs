//! Judges whether a pod could use a device now, and why not.

use std::collections::BTreeMap;

use sriov_config::resource_list::PfHealth;
use sriov_host::snapshot::{HostSnapshot, Netdev, PciFunction, RdmaLink, ScanProblem};

use crate::held::{HeldDevices, keep_held, pf_of};
use crate::id::DeviceId;
use crate::owners::{Attachment, Owners};
use crate::pool::{Pool, Pools};
use crate::unhealthy::Unhealthy;

/// Judges each device, and keeps held ones in the pools through which they were given.
pub fn judge(
    snapshot: &HostSnapshot,
    planned: &Pools,
    owners: &Owners,
    held: &HeldDevices,
) -> Pools {
    let mut pools = planned.clone();
    let unreadable = unreadable(snapshot);
    for pool in &mut pools.pools {
        let judged = pool.devices.iter().filter_map(|device| {
            let why = match unreadable.get(&device.id) {
                Some(why) => why.clone(),
                None => judge_device(snapshot, pool, &device.id, owners)?,
            };
            Some((device.id.clone(), why))
        });
        pool.unhealthy = judged.collect();
    }
    keep_held(&mut pools, owners, |id| {
        let unreadable = unreadable.get(id).cloned();
        unreadable.or_else(|| held.loss(snapshot, id))
    });
    pools
}

/// The devices that are present and could not be read.
pub fn unreadable(snapshot: &HostSnapshot) -> BTreeMap<DeviceId, Unhealthy> {
    let problems = snapshot.problems.iter();
    problems.filter_map(unreadable_device).collect()
}

fn unreadable_device(problem: &ScanProblem) -> Option<(DeviceId, Unhealthy)> {
    let id = problem.device.parse().ok()?;
    Some((id, Unhealthy::Unreadable(problem.reason.clone())))
}

fn judge_device(
    snapshot: &HostSnapshot,
    pool: &Pool,
    id: &DeviceId,
    owners: &Owners,
) -> Option<Unhealthy> {
    let attachment = id
        .address()
        .and_then(|address| owners.attachments.get(&address));
    if attachment == Some(&Attachment::Dirty) {
        return Some(Unhealthy::Dirty);
    }
    // The device's own link is not judged: its pod sets it up or down.
    match snapshot.function(pf_of(snapshot, id)?) {
        None => Some(Unhealthy::PfMissing),
        Some(pf) => judge_pf(pf, pool.pf_health),
    }
}

/// Judges a PF: one usable port is enough. A PF without ports is not judged: they are in a pod, or it has a userspace driver.
///
/// With InfiniBand the RDMA port has the link; `IPoIB` is one of its users, and may be down or missing.
fn judge_pf(pf: &PciFunction, needs: PfHealth) -> Option<Unhealthy> {
    if let Some(RdmaLink::Infiniband { is_active }) = pf.rdma_link {
        let is_unusable = needs == PfHealth::Carrier && !is_active;
        let name = pf.rdma.first().cloned().unwrap_or_default();
        return is_unusable.then_some(Unhealthy::PfWithoutCarrier(name));
    }
    let name = pf.ports().next()?.name.to_string();
    let is_down = |port: &Netdev| port.is_up == Some(false);
    let is_dark = |port: &Netdev| is_down(port) || port.carrier == Some(false);
    if needs != PfHealth::Ignore && pf.ports().all(is_down) {
        return Some(Unhealthy::PfDown(name));
    }
    let is_unusable = needs == PfHealth::Carrier && pf.ports().all(is_dark);
    is_unusable.then_some(Unhealthy::PfWithoutCarrier(name))
}

#[cfg(test)]
mod tests;
