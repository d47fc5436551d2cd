//! What is offered to kubelet: the plan of the newest scan, judged by who holds what; and what is logged of it. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_host::snapshot::HostSnapshot;
use tokio::time::Instant;

use crate::health::{Damper, Given, Unhealthy, judge};
use crate::ownership::Owners;
use crate::pools::{DeviceId, Pool, Pools};

/// Ids that one line of the log names.
const NAMED: usize = 8;

/// What is known of the devices.
#[derive(Debug, Default)]
pub struct Offer {
    snapshot: HostSnapshot,
    planned: Pools,
    given: Given,
    damper: Damper,
}

impl Offer {
    /// Takes a scan and the pools that were planned of it.
    pub fn take(&mut self, snapshot: HostSnapshot, mut planned: Pools) {
        // What did not change is in memory once: what is offered and what was sent hold it as well.
        for (now, before) in planned.pools.iter_mut().zip(&self.planned.pools) {
            if now.devices == before.devices {
                now.devices = Arc::clone(&before.devices);
            }
        }
        (self.snapshot, self.planned) = (snapshot, planned);
    }

    /// The newest scan that was taken.
    pub fn snapshot(&self) -> &HostSnapshot {
        &self.snapshot
    }

    /// The pools as kubelet may know them now, and when that changes though nothing else does.
    pub fn pools(&mut self, owners: &Owners, now: Instant) -> (Pools, Option<Instant>) {
        self.given.remember(&self.snapshot, owners);
        let mut pools = judge(&self.snapshot, &self.planned, owners, &self.given);
        let due = self.damper.damp(&mut pools, now);
        (pools, due)
    }
}

/// Which devices fell ill and which recovered, in lines for the log: first the bad news.
pub fn news(before: &Pools, now: &Pools) -> (Vec<String>, Vec<String>) {
    let (mut ill, mut well) = (Vec::new(), Vec::new());
    for pool in &now.pools {
        let name = &pool.resource.name;
        let same = |before: &&Pool| before.resource.name == *name;
        let nothing = BTreeMap::new();
        let before = before.pools.iter().find(same);
        let before = before.map_or(&nothing, |before| &before.unhealthy);
        let mut by_reason: BTreeMap<String, Vec<&DeviceId>> = BTreeMap::new();
        let is_new = |(id, why): &(&DeviceId, &Unhealthy)| before.get(*id) != Some(*why);
        for (id, why) in pool.unhealthy.iter().filter(is_new) {
            by_reason.entry(why.to_string()).or_default().push(id);
        }
        let lines = by_reason.into_iter();
        ill.extend(lines.map(|(why, ids)| format!("{name}: unhealthy: {}: {why}", some(&ids))));
        let recovered: Vec<_> = pool
            .healthy()
            .map(|device| &device.id)
            .filter(|id| before.contains_key(id))
            .collect();
        if !recovered.is_empty() {
            well.push(format!("{name}: healthy again: {}", some(&recovered)));
        }
    }
    (ill, well)
}

fn some(ids: &[&DeviceId]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    match ids.len().checked_sub(NAMED) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}
