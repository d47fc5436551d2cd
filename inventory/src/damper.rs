//! Dampens flapping: a loss is reported at once, a recovery only after it lasted, and the more often a device failed the longer it must last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::DeviceId;
use crate::pool::Pools;
use crate::unhealthy::Unhealthy;

/// A first recovery must last this long before it is reported.
const FIRST: Duration = Duration::from_millis(500);
/// Each further one must last twice as long, up to this.
const LONGEST: Duration = Duration::from_secs(32);
/// A device that was healthy for this long counts as one that never failed.
const FORGIVEN: Duration = Duration::from_mins(1);

/// The devices that are unhealthy, or were a short time ago.
#[derive(Clone, Debug, Default)]
pub struct Damper(BTreeMap<DeviceId, Record>);

#[derive(Clone, Debug)]
struct Record {
    /// The last reason.
    why: Unhealthy,
    /// When it recovered; absent while it is unhealthy.
    healthy_since: Option<Instant>,
    /// How long the recovery must last.
    hold: Duration,
    /// Whether the recovery was reported.
    is_reported: bool,
}

impl Damper {
    /// Keeps devices unhealthy whose recovery has not lasted yet; returns when the next one will have.
    pub fn damp(&mut self, pools: &mut Pools, now: Instant) -> Option<Instant> {
        let mut before = std::mem::take(&mut self.0);
        let mut due: Option<Instant> = None;
        for pool in &mut pools.pools {
            for (id, why) in &pool.unhealthy {
                let record = before.remove(id);
                self.0.insert(id.clone(), Record::unhealthy(record, why));
            }
            for device in pool.devices.iter() {
                let Some(mut record) = before.remove(&device.id) else {
                    continue;
                };
                let since = *record.healthy_since.get_or_insert(now);
                let held = now.saturating_duration_since(since);
                record.is_reported |= held >= record.hold;
                if !record.is_reported {
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
    fn unhealthy(before: Option<Self>, why: &Unhealthy) -> Self {
        let hold = before.map_or(FIRST, |before| {
            if before.is_reported {
                (before.hold * 2).min(LONGEST)
            } else {
                before.hold
            }
        });
        Self {
            why: why.clone(),
            healthy_since: None,
            hold,
            is_reported: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sriov_config::resource_list::{PfHealth, Publish, ResourceName};

    use super::*;
    use crate::pool::{Pool, PoolDevice};

    const ID: &str = "0000:01:10.0";

    fn pools(is_healthy: bool) -> Pools {
        let device = PoolDevice::example(ID.parse().unwrap());
        let why = (!is_healthy).then(|| (device.id.clone(), Unhealthy::PfMissing));
        Pools {
            pools: vec![Pool {
                name: ResourceName::new("x.y", "vf").unwrap(),
                pf_health: PfHealth::default(),
                publish: Publish::default(),
                additional_info: Arc::default(),
                devices: vec![device].into(),
                unhealthy: why.into_iter().collect(),
            }],
            ..Pools::default()
        }
    }

    /// Time in milliseconds, whether the device is healthy then, whether it is reported healthy, and when the next recovery is due.
    fn check(steps: &[(u64, bool, bool, Option<u64>)]) {
        let start = Instant::now();
        let mut damper = Damper::default();
        for (at, is_healthy, is_reported_healthy, again) in steps {
            let mut pools = pools(*is_healthy);
            let due = damper.damp(&mut pools, start + Duration::from_millis(*at));
            assert_eq!(
                pools.pools[0].unhealthy.is_empty(),
                *is_reported_healthy,
                "{at} ms"
            );
            let again = again.map(|at| start + Duration::from_millis(at));
            assert_eq!(due, again, "{at} ms");
        }
    }

    #[test]
    fn a_loss_is_reported_at_once_and_a_recovery_once_it_lasts() {
        check(&[
            (0, true, true, None),
            (10, false, false, None),
            (20, true, false, Some(520)),
            (100, true, false, Some(520)),
            (520, true, true, None),
            (530, true, true, None),
        ]);
        // A device that is unhealthy at first sight.
        check(&[(0, false, false, None), (10, true, false, Some(510))]);
        // A recovery that did not last starts again, and does not count as a flap: it was never reported.
        check(&[
            (0, false, false, None),
            (10, true, false, Some(510)),
            (400, false, false, None),
            (450, true, false, Some(950)),
        ]);
    }

    #[test]
    fn repeated_failures_lengthen_the_hold_up_to_a_minute_of_health() {
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
            // After a minute of health the device counts as new.
            (70_000, true, true, None),
            (70_100, false, false, None),
            (70_200, true, false, Some(70_700)),
        ]);
    }

    #[test]
    fn long_flapping_is_reported_at_most_twice_in_32_seconds() {
        let start = Instant::now();
        let (mut damper, mut was, mut flips) = (Damper::default(), true, Vec::new());
        // Unhealthy for 10 ms, then healthy until its recovery is due, for ten minutes.
        let (mut now, mut is_healthy) = (Duration::ZERO, true);
        while now < Duration::from_mins(10) {
            let mut pools = pools(is_healthy);
            let due = damper.damp(&mut pools, start + now);
            let is_reported_healthy = pools.pools[0].unhealthy.is_empty();
            if is_reported_healthy != was {
                flips.push(now);
                was = is_reported_healthy;
            }
            now = due.map_or(now + Duration::from_millis(10), |due| due - start);
            is_healthy = !is_healthy || due.is_some();
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
    fn a_removed_device_is_forgotten() {
        let (mut damper, now) = (Damper::default(), Instant::now());
        damper.damp(&mut pools(false), now);
        damper.damp(&mut Pools::default(), now);
        let mut pools = pools(true);
        assert_eq!(damper.damp(&mut pools, now), None);
        assert!(pools.pools[0].unhealthy.is_empty());
    }
}
