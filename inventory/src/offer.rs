//! The offer: the newest plan, judged by who holds what, and damped against flapping.

use std::sync::Arc;
use std::time::Instant;

use sriov_host::snapshot::HostSnapshot;

use crate::damper::Damper;
use crate::held::HeldDevices;
use crate::judge::judge;
use crate::owners::Owners;
use crate::pool::Pools;

/// The newest snapshot with its plan, and the history of the devices.
#[derive(Debug, Default)]
pub struct Offer {
    snapshot: Arc<HostSnapshot>,
    planned: Pools,
    held: HeldDevices,
    damper: Damper,
}

impl Offer {
    /// Replaces the snapshot and the plan that was made from it.
    pub fn take(&mut self, snapshot: Arc<HostSnapshot>, mut planned: Pools) {
        // Unchanged devices exist once in memory: what is offered and what was sent share them.
        for (now, before) in planned.pools.iter_mut().zip(&self.planned.pools) {
            if now.devices == before.devices {
                now.devices = Arc::clone(&before.devices);
            }
        }
        (self.snapshot, self.planned) = (snapshot, planned);
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> &Arc<HostSnapshot> {
        &self.snapshot
    }

    /// The pools to offer now, and when they change by time alone.
    pub fn pools(&mut self, owners: &Owners, now: Instant) -> (Pools, Option<Instant>) {
        self.held.remember(&self.snapshot, owners);
        let mut pools = judge(&self.snapshot, &self.planned, owners, &self.held);
        let due = self.damper.damp(&mut pools, now);
        (pools, due)
    }
}
