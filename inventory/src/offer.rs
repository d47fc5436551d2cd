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
    ///
    /// A device that was granted after the newest judgement is stored as the snapshot before shows it: its pod got it like that.
    pub fn take(&mut self, snapshot: Arc<HostSnapshot>, mut planned: Pools, owners: &Owners) {
        self.held.remember(&self.snapshot, owners);
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

#[cfg(test)]
mod tests {
    use sriov_config::ResourceList;
    use sriov_host::snapshot::PciFunction;

    use super::*;
    use crate::assign::plan_pools;
    use crate::id::DeviceId;
    use crate::node_use::NodeUses;
    use crate::owners::Holder;
    use crate::unhealthy::Unhealthy;

    const NIC: &str = "0000:01:00.0";

    fn seen(incarnation: u64) -> (Arc<HostSnapshot>, Pools) {
        let function = PciFunction {
            driver: Some("igb".to_owned()),
            incarnation,
            ..PciFunction::example(NIC.parse().unwrap())
        };
        let mut snapshot = HostSnapshot::default();
        snapshot.functions.insert(function.address, function);
        let config =
            r#"{"resourceList": [{"resourceName": "nic", "selectors": {"drivers": ["igb"]}}]}"#;
        let config = ResourceList::parse(config, "x.y").unwrap();
        let pools = plan_pools(&snapshot, &config, &NodeUses::new());
        (Arc::new(snapshot), pools)
    }

    /// The pools are not judged between a grant and the scan after it.
    #[test]
    fn a_device_that_is_replaced_right_after_its_grant_is_unhealthy() {
        let (id, mut offer, mut owners): (DeviceId, _, _) =
            (NIC.parse().unwrap(), Offer::default(), Owners::default());
        for (incarnation, is_granted, expected) in [
            (1, false, None),
            (2, false, None),
            (3, true, Some(Unhealthy::Remade)),
        ] {
            if is_granted {
                let holder = Holder::Granted("x.y/nic".into());
                owners.granted.insert(id.clone(), vec![holder]);
            }
            let (snapshot, planned) = seen(incarnation);
            offer.take(snapshot, planned, &owners);
            let (pools, _) = offer.pools(&owners, Instant::now());
            let why = pools.pools[0].unhealthy.get(&id);
            assert_eq!(why, expected.as_ref(), "{incarnation}");
        }
    }
}
