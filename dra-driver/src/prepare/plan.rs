//! Decides whether a new claim can be prepared, and what is recorded of it: pure, and all refusals at once.

use std::collections::BTreeMap;

use sriov_config::vf_config::{UserDriver, VfConfig, WishedDriver};
use sriov_device_info::claims::{NetworkRef, Rebound};
use sriov_host::PciAddress;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Attachment, Holder, Owners};
use sriov_inventory::pool::{Pool, PoolDevice, Pools};

use super::error::Refusal;
use super::variables;
use crate::claim::{AllocatedClaim, AllocatedDevice};
use crate::publish::device::name_of;
use crate::settings::NodeName;
use crate::state::{ClaimState, DeviceState, ShareState};

/// The node as a plan needs it.
pub(super) struct Node<'a> {
    pub(super) name: &'a NodeName,
    /// The pools that this driver publishes.
    pub(super) pools: &'a Pools,
    /// Who holds what, as of now.
    pub(super) owners: &'a Owners,
    /// The drivers of the devices for which the claim wishes a driver.
    pub(super) drivers: &'a BTreeMap<PciAddress, Option<String>>,
    /// Whether containers get the variables of `dra-driver-sriov`.
    pub(super) has_sriovnetwork_names: bool,
}

/// The state to record for a claim that is not prepared.
///
/// # Errors
/// All refusals of all devices.
pub(super) fn plan(claim: &AllocatedClaim, node: &Node<'_>) -> Result<ClaimState, Vec<Refusal>> {
    let (mut devices, mut refusals) = (Vec::new(), Vec::new());
    for device in &claim.devices {
        match plan_device(claim, device, node) {
            Ok(device) => devices.push(device),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    if node.has_sriovnetwork_names {
        variables::add(&mut devices);
    }
    Ok(ClaimState {
        is_prepared: false,
        claim: claim.claim.clone(),
        pod: claim.pod.clone(),
        pod_claim_name: claim.pod_claim_name.clone(),
        is_extended: claim.is_extended,
        devices,
    })
}

fn plan_device(
    claim: &AllocatedClaim,
    allocated: &AllocatedDevice,
    node: &Node<'_>,
) -> Result<DeviceState, Refusal> {
    let name = &allocated.device;
    // A device that was removed has no entry any more; its name shows nothing else.
    let Some((pool, id)) = find(node.pools, name) else {
        return Err(Refusal::Unknown(name.clone()));
    };
    ensure_free(claim, name, &id, node.owners)?;
    if let Some(reason) = pool.unhealthy.get(&id) {
        return Err(Refusal::Unhealthy {
            device: name.clone(),
            reason: reason.clone(),
        });
    }
    let VfConfig {
        network,
        if_name,
        driver,
        vhost_net,
        env,
    } = allocated.config.clone();
    let rebound = rebound(name, id.address(), driver, node)?;
    Ok(DeviceState {
        request: allocated.request.clone(),
        pool: node.name.to_string(),
        name: name.clone(),
        id: id.to_string(),
        resource: pool.name.to_string(),
        network: network.map(|network| NetworkRef {
            namespace: network
                .namespace
                .unwrap_or_else(|| claim.claim.namespace.clone()),
            name: network.name,
        }),
        ifname: if_name,
        vhost_net: vhost_net.unwrap_or_default(),
        env,
        rebound,
        share: ShareState::default(),
    })
}

/// The driver to bind; absent when the device has the driver that the claim wishes, which is not restored then either.
fn rebound(
    device: &str,
    address: Option<PciAddress>,
    wished: Option<WishedDriver>,
    node: &Node<'_>,
) -> Result<Option<Rebound>, Refusal> {
    let own = address.and_then(|address| node.drivers.get(&address).cloned().flatten());
    let device = device.to_owned();
    match wished {
        None => Ok(None),
        Some(WishedDriver::Network) => match own.filter(|own| own.parse::<UserDriver>().is_ok()) {
            Some(driver) => Err(Refusal::NoNetworkDriver { device, driver }),
            None => Ok(None),
        },
        Some(WishedDriver::User(driver)) if address.is_none() => Err(Refusal::NoFunction {
            device,
            driver: driver.to_string(),
        }),
        Some(WishedDriver::User(driver)) => {
            let bound = driver.to_string();
            Ok((own.as_ref() != Some(&bound)).then_some(Rebound { own, bound }))
        }
    }
}

/// The pool and the id of a device with this name in its slice.
pub(super) fn find<'a>(pools: &'a Pools, name: &str) -> Option<(&'a Pool, DeviceId)> {
    pools.pools.iter().find_map(|pool| {
        let mut ids = pool.ids().into_iter();
        let id = ids.find(|id| name_of(id) == name)?;
        Some((pool, id.clone()))
    })
}

/// The device of an id in its pool, while it exists.
pub(super) fn device<'a>(
    pools: &'a Pools,
    resource: &str,
    id: &str,
) -> Option<(&'a Pool, &'a PoolDevice)> {
    let mut pools = pools.pools.iter();
    let pool = pools.find(|pool| pool.name.to_string() == resource)?;
    let mut devices = pool.devices.iter();
    let device = devices.find(|device| device.id.to_string() == id)?;
    Some((pool, device))
}

/// Refuses a device that somebody else holds, and names the holder.
fn ensure_free(
    claim: &AllocatedClaim,
    name: &str,
    id: &DeviceId,
    owners: &Owners,
) -> Result<(), Refusal> {
    let is_other = |holder: &&Holder| match holder {
        Holder::Pod(_) | Holder::Granted(_) => true,
        Holder::Claim(other) if other.uid.is_empty() => {
            (&other.namespace, &other.name) != (&claim.claim.namespace, &claim.claim.name)
        }
        Holder::Claim(other) => other.uid != claim.claim.uid,
    };
    if let Some(holder) = owners.holders(id).find(is_other) {
        return Err(Refusal::Held {
            device: name.to_owned(),
            holder: holder.to_string(),
        });
    }
    let attachment = id.address().and_then(|vf| owners.attachments.get(&vf));
    if attachment == Some(&Attachment::Attached) {
        return Err(Refusal::Attached {
            device: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
