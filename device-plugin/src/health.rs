//! Whether a pod could use a device now, and why not: data to data.
//!
//! [`judge`] decides; `damper` sees to it that kubelet is not told more often than it can use.

mod damper;

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::resources::PfHealth;
use sriov_device_info::attachments::Phase;
use sriov_host::PciAddress;
use sriov_host::snapshot::{HostSnapshot, Netdev, PciFunction, ScanProblem, SriovRole};

pub use self::damper::Damper;
use crate::ownership::Owners;
use crate::pools::{DeviceId, Pool, Pools};

/// Why a device cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// It vanished while a pod held it.
    #[error("it is gone")]
    Gone,
    /// It is there, and an attribute of it cannot be read any more.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It lost its driver while a pod held it.
    #[error("no driver is bound to it")]
    NoDriver,
    /// It got another driver while a pod held it.
    #[error("it has the driver `{now}`, its pod got it with `{was}`")]
    DriverChanged {
        /// The driver when the pod was seen first.
        was: String,
        /// The driver now.
        now: String,
    },
    /// It vanished and came back while a pod held it.
    #[error("it was made again, its pod has the one before")]
    Remade,
    /// Its PF vanished.
    #[error("its PF is gone")]
    PfMissing,
    /// Its PF is not set up.
    #[error("its PF `{0}` is down")]
    PfDown(String),
    /// The cable of its PF leads nowhere.
    #[error("its PF `{0}` has no carrier")]
    PfWithoutCarrier(String),
    /// It could not be brought to what it was before its last pod: a reset or a setting failed.
    #[error("the CNI plugin keeps it back: it could not be brought to what it was")]
    Dirty,
    /// A pod holds it through another resource.
    #[error("a pod holds it as `{0}`")]
    HeldElsewhere(String),
    /// A pod holds it through a resource of which it is no longer.
    #[error("no selector of its resource matches it any more")]
    LeftPool,
}

impl Unhealthy {
    /// The reason in one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unreadable(_) => "unreadable",
            Self::NoDriver => "no_driver",
            Self::DriverChanged { .. } => "driver_changed",
            Self::Remade => "remade",
            Self::PfMissing => "pf_missing",
            Self::PfDown(_) => "pf_down",
            Self::PfWithoutCarrier(_) => "pf_without_carrier",
            Self::Dirty => "dirty",
            Self::HeldElsewhere(_) => "held_elsewhere",
            Self::LeftPool => "left_pool",
        }
    }
}

/// The devices that pods hold, as they were when this process first saw them held.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<DeviceId, Was>);

#[derive(Clone, Debug)]
struct Was {
    driver: String,
    incarnation: u64,
}

impl Given {
    /// Remembers what is new, and forgets what nobody holds any more.
    pub fn remember(&mut self, snapshot: &HostSnapshot, owners: &Owners) {
        self.0
            .retain(|id, _| owners.is_held(&id.to_string()) != Some(false));
        for id in owners.pods.iter().flat_map(|pods| pods.holders.keys()) {
            let Ok(id) = id.parse::<DeviceId>() else {
                continue;
            };
            if let Some((Some(driver), incarnation)) = state(snapshot, &id) {
                let was = || Was {
                    driver: driver.to_owned(),
                    incarnation,
                };
                self.0.entry(id).or_insert_with(was);
            }
        }
    }
}

/// Driver and incarnation of a device that is there.
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

/// The PF of a VF or a subfunction that is there; it need not be there itself.
fn pf_of(snapshot: &HostSnapshot, id: &DeviceId) -> Option<PciAddress> {
    match id {
        DeviceId::Function(address) => match &snapshot.function(*address)?.role {
            SriovRole::Vf { pf, .. } => Some(*pf),
            SriovRole::Pf { .. } | SriovRole::None => None,
        },
        DeviceId::Subfunction(name) => Some(snapshot.subfunctions.get(name)?.pf),
    }
}

/// Says of each device whether it is healthy, and keeps those that pods hold where kubelet knows them:
/// it counts allocations by resource, and takes a device that is no longer listed for a healthy one.
pub fn judge(snapshot: &HostSnapshot, planned: &Pools, owners: &Owners, given: &Given) -> Pools {
    let mut pools = planned.clone();
    let unreadable = unreadable(snapshot);
    for pool in &mut pools.pools {
        let judged = pool.devices.iter().filter_map(|device| {
            let why = match unreadable.get(&device.id) {
                Some(why) => why.clone(),
                None => of_device(snapshot, pool, &device.id, owners)?,
            };
            Some((device.id.clone(), why))
        });
        pool.unhealthy = judged.collect();
    }
    keep_held(&mut pools, owners, |id| {
        let unreadable = unreadable.get(id).cloned();
        unreadable.or_else(|| why_lost(snapshot, id, given))
    });
    pools
}

/// What is there and could not be read.
pub fn unreadable(snapshot: &HostSnapshot) -> BTreeMap<DeviceId, Unhealthy> {
    let problems = snapshot.problems.iter();
    let of = |problem: &ScanProblem| {
        let id = problem.device.parse().ok()?;
        Some((id, Unhealthy::Unreadable(problem.reason.clone())))
    };
    problems.filter_map(of).collect()
}

fn of_device(
    snapshot: &HostSnapshot,
    pool: &Pool,
    id: &DeviceId,
    owners: &Owners,
) -> Option<Unhealthy> {
    let attachment = id
        .address()
        .and_then(|address| owners.attachments.get(&address));
    if attachment.is_some_and(|attachment| attachment.phase == Phase::Dirty) {
        return Some(Unhealthy::Dirty);
    }
    // Whether its own link is up is the business of the pod.
    match snapshot.function(pf_of(snapshot, id)?) {
        None => Some(Unhealthy::PfMissing),
        Some(pf) => of_pf(pf, pool.resource.pf_health),
    }
}

/// A PF with several ports does while one of them does; one that shows none, as in a pod or with a driver for user space, is not judged.
fn of_pf(pf: &PciFunction, needs: PfHealth) -> Option<Unhealthy> {
    let name = pf.ports().next()?.name.to_string();
    let is_down = |port: &Netdev| port.is_up == Some(false);
    let is_dark = |port: &Netdev| is_down(port) || port.carrier == Some(false);
    if needs != PfHealth::Ignore && pf.ports().all(is_down) {
        return Some(Unhealthy::PfDown(name));
    }
    (needs == PfHealth::Carrier && pf.ports().all(is_dark))
        .then_some(Unhealthy::PfWithoutCarrier(name))
}

/// Keeps what pods hold in the pools by which they got it, and offers it by no other.
fn keep_held(plan: &mut Pools, owners: &Owners, why_lost: impl Fn(&DeviceId) -> Option<Unhealthy>) {
    let mut homes = BTreeMap::new();
    let mut names = Vec::new();
    for (index, pool) in plan.pools.iter().enumerate() {
        names.push(pool.resource.name.to_string());
        homes.extend(pool.devices.iter().map(|device| (device.id.clone(), index)));
    }
    for (text, holders) in owners.pods.iter().flat_map(|pods| &pods.holders) {
        let Ok(id) = text.parse::<DeviceId>() else {
            continue;
        };
        let home = homes.get(&id).copied();
        let lost = why_lost(&id);
        let is_through = |name: &str| holders.iter().any(|holder| holder.resource == name);
        let mut is_kept = false;
        for (index, (pool, name)) in plan.pools.iter_mut().zip(&names).enumerate() {
            if is_through(name) {
                is_kept = true;
                let left = (home != Some(index)).then_some(Unhealthy::LeftPool);
                let why = lost.clone().or(left);
                pool.unhealthy.extend(why.map(|why| (id.clone(), why)));
            }
        }
        let Some(pool) = home.and_then(|home| plan.pools.get_mut(home)) else {
            continue;
        };
        if is_through(&pool.resource.name.to_string()) {
            continue;
        }
        if is_kept {
            Arc::make_mut(&mut pool.devices).retain(|device| device.id != id);
            pool.unhealthy.remove(&id);
        } else if let Some(holder) = holders.first() {
            let why = Unhealthy::HeldElsewhere(holder.resource.clone());
            pool.unhealthy.insert(id, why);
        }
    }
}

/// What happened to a device since its pod got it.
fn why_lost(snapshot: &HostSnapshot, id: &DeviceId, given: &Given) -> Option<Unhealthy> {
    let Some((driver, incarnation)) = state(snapshot, id) else {
        return Some(Unhealthy::Gone);
    };
    let was = given.0.get(id);
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
    snapshot
        .function(pf)
        .is_none()
        .then_some(Unhealthy::PfMissing)
}

#[cfg(test)]
mod tests;
