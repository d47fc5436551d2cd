//! Against flapping: a loss is told at once, a recovery when it held, and later the oftener the device falls ill; the clock is given.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Unhealthy;
use crate::pools::{DeviceId, Pools};

/// A first recovery holds this long before it is told.
const FIRST: Duration = Duration::from_millis(500);
/// Each that follows a short one holds twice as long, up to this.
const LONGEST: Duration = Duration::from_secs(32);
/// A device that was well for so long is as one that was never ill.
const FORGIVEN: Duration = Duration::from_mins(1);

/// What is remembered of devices that are ill or were.
#[derive(Clone, Debug, Default)]
pub struct Damper(BTreeMap<DeviceId, Record>);

#[derive(Clone, Debug)]
struct Record {
    /// Its last reason.
    why: Unhealthy,
    /// Since when it is well.
    well_since: Option<Instant>,
    /// How long that must hold.
    hold: Duration,
    /// Whether kubelet knows that it is well.
    is_told: bool,
}

impl Damper {
    /// Keeps those ill whose recovery has not held yet, and says when one of them may be told.
    pub fn damp(&mut self, pools: &mut Pools, now: Instant) -> Option<Instant> {
        let mut before = std::mem::take(&mut self.0);
        let mut due: Option<Instant> = None;
        for pool in &mut pools.pools {
            for (id, why) in &pool.unhealthy {
                let record = before.remove(id);
                self.0.insert(id.clone(), Record::ill(record, why));
            }
            for device in pool.devices.iter() {
                let Some(mut record) = before.remove(&device.id) else {
                    continue;
                };
                let since = *record.well_since.get_or_insert(now);
                let held = now.saturating_duration_since(since);
                record.is_told |= held >= record.hold;
                if !record.is_told {
                    let until = since + record.hold;
                    due = Some(due.map_or(until, |due| due.min(until)));
                    pool.unhealthy.insert(device.id.clone(), record.why.clone());
                }
                if held < record.hold + FORGIVEN {
                    self.0.insert(device.id.clone(), record);
                }
            }
        }
        due
    }
}

impl Record {
    fn ill(before: Option<Self>, why: &Unhealthy) -> Self {
        let hold = before.map_or(FIRST, |before| {
            if before.is_told {
                (before.hold * 2).min(LONGEST)
            } else {
                before.hold
            }
        });
        Self {
            why: why.clone(),
            well_since: None,
            hold,
            is_told: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use sriov_config::ResourceList;

    use super::*;
    use crate::pools::{Gives, Pool, PoolDevice};

    const ID: &str = "0000:01:10.0";

    fn pools(is_well: bool) -> Pools {
        let text = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["igbvf"]}}]}"#;
        let device = PoolDevice {
            id: ID.parse().unwrap(),
            driver: "igbvf".into(),
            numa_node: None,
            pf: None,
            representor: None,
            gives: Gives::default(),
        };
        let why = (!is_well).then(|| (device.id.clone(), Unhealthy::PfMissing));
        Pools {
            pools: vec![Pool {
                resource: ResourceList::parse(text, "").unwrap().resources.remove(0),
                devices: vec![device].into(),
                unhealthy: why.into_iter().collect(),
            }],
            ..Pools::default()
        }
    }

    /// What is so at a moment in milliseconds, what kubelet is told, and when it is looked at again.
    fn check(steps: &[(u64, bool, bool, Option<u64>)]) {
        let start = Instant::now();
        let mut damper = Damper::default();
        for (at, is_well, is_told_well, again) in steps {
            let mut pools = pools(*is_well);
            let due = damper.damp(&mut pools, start + Duration::from_millis(*at));
            assert_eq!(
                pools.pools[0].unhealthy.is_empty(),
                *is_told_well,
                "{at} ms"
            );
            let again = again.map(|at| start + Duration::from_millis(at));
            assert_eq!(due, again, "{at} ms");
        }
    }

    #[test]
    fn a_loss_is_told_at_once_and_a_recovery_when_it_held() {
        check(&[
            (0, true, true, None),
            (10, false, false, None),
            (20, true, false, Some(520)),
            (100, true, false, Some(520)),
            (520, true, true, None),
            (530, true, true, None),
        ]);
        // One that comes ill is told so, too.
        check(&[(0, false, false, None), (10, true, false, Some(510))]);
        // A recovery that did not hold begins anew, and was no flap that anybody saw.
        check(&[
            (0, false, false, None),
            (10, true, false, Some(510)),
            (400, false, false, None),
            (450, true, false, Some(950)),
        ]);
    }

    #[test]
    fn the_oftener_a_device_falls_ill_the_longer_it_must_be_well() {
        check(&[
            (0, false, false, None),
            (100, true, false, Some(600)),
            (600, true, true, None),
            (700, false, false, None),
            (800, true, false, Some(1_800)),
            (1_800, true, true, None),
            (1_900, false, false, None),
            (2_000, true, false, Some(4_000)),
            (4_000, true, true, None),
            // A minute of health, and all is forgiven.
            (70_000, true, true, None),
            (70_100, false, false, None),
            (70_200, true, false, Some(70_700)),
        ]);
    }

    #[test]
    fn no_flapping_reaches_kubelet_more_than_twice_in_32_seconds_for_long() {
        let start = Instant::now();
        let (mut damper, mut was, mut flips) = (Damper::default(), true, Vec::new());
        // Ill for 10 ms, well for as long as it is asked to be, for ten minutes.
        let (mut now, mut is_well) = (Duration::ZERO, true);
        while now < Duration::from_mins(10) {
            let mut pools = pools(is_well);
            let due = damper.damp(&mut pools, start + now);
            let is_told_well = pools.pools[0].unhealthy.is_empty();
            if is_told_well != was {
                flips.push(now);
                was = is_told_well;
            }
            now = due.map_or(now + Duration::from_millis(10), |due| due - start);
            is_well = !is_well || due.is_some();
        }
        let late: Vec<_> = flips
            .iter()
            .filter(|at| **at > Duration::from_mins(2))
            .collect();
        assert!(late.len() >= 20, "{flips:?}");
        for pair in late.windows(3) {
            assert!(*pair[2] >= *pair[0] + LONGEST, "{flips:?}");
        }
    }

    #[test]
    fn a_device_that_went_is_forgotten() {
        let (mut damper, now) = (Damper::default(), Instant::now());
        damper.damp(&mut pools(false), now);
        damper.damp(&mut Pools::default(), now);
        let mut pools = pools(true);
        assert_eq!(damper.damp(&mut pools, now), None);
        assert!(pools.pools[0].unhealthy.is_empty());
    }
}
