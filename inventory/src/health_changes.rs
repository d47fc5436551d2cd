//! The changes of health between two offers, one for each pool and reason, as the log reports them.

use std::collections::BTreeMap;

use sriov_config::resource_list::ResourceName;

use crate::id::DeviceId;
use crate::pool::{Pool, Pools};
use crate::unhealthy::Unhealthy;

/// Ids that one change names; of more it states the number.
const NAMED: usize = 8;

/// Devices of a pool whose health changed for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The pool.
    pub pool: ResourceName,
    /// The devices, abbreviated when there are many.
    pub devices: String,
    /// Why they are unhealthy; absent when they recovered.
    pub reason: Option<String>,
}

/// Lists what changed between two offers: first all losses, then all recoveries.
pub fn health_changes(before: &Pools, now: &Pools) -> Vec<HealthChange> {
    let (mut losses, mut recoveries) = (Vec::new(), Vec::new());
    for pool in &now.pools {
        let mut pools = before.pools.iter();
        let before = pools.find(|before| before.name == pool.name);
        let nothing = BTreeMap::new();
        let unhealthy_before = before.map_or(&nothing, |before| &before.unhealthy);
        let change = |ids: &[&DeviceId], reason| HealthChange {
            pool: pool.name.clone(),
            devices: abbreviated(ids),
            reason,
        };
        for (reason, ids) in new_losses(pool, unhealthy_before) {
            losses.push(change(&ids, Some(reason)));
        }
        let healthy = pool.healthy().map(|device| &device.id);
        let recovered: Vec<_> = healthy
            .filter(|id| unhealthy_before.contains_key(id))
            .collect();
        if !recovered.is_empty() {
            recoveries.push(change(&recovered, None));
        }
    }
    losses.append(&mut recoveries);
    losses
}

/// The devices that are unhealthy for another reason than before, by reason.
fn new_losses<'a>(
    pool: &'a Pool,
    before: &BTreeMap<DeviceId, Unhealthy>,
) -> BTreeMap<String, Vec<&'a DeviceId>> {
    let mut by_reason: BTreeMap<String, Vec<&DeviceId>> = BTreeMap::new();
    for (id, why) in &pool.unhealthy {
        if before.get(id) != Some(why) {
            by_reason.entry(why.to_string()).or_default().push(id);
        }
    }
    by_reason
}

fn abbreviated(ids: &[&DeviceId]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    match ids.len().checked_sub(NAMED) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}
