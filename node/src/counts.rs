//! The counts of this process: every task adds to them, `http` serves them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sriov_config::resources::{ResourceName, Unusable};
use sriov_config::{Mistakes, ResourceList};

/// Upper bounds of the buckets in microseconds.
pub const BUCKETS: [u64; 9] = [
    100, 250, 500, 1_000, 2_500, 5_000, 25_000, 100_000, 1_000_000,
];

/// The counters of this process; shared.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

/// All counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By resource.
    pub resources: BTreeMap<ResourceName, ResourceCounts>,
    /// Time of the scans that succeeded.
    pub scans: Histogram,
    /// Scans that failed, or did not finish in time.
    pub failed_scans: u64,
    /// Whether the scan in progress should have finished.
    pub is_scan_overdue: bool,
    /// Whether the devices were seen, and all PFs were settled.
    pub are_devices_known: bool,
    /// The configuration in use.
    pub config: ConfigState,
    /// Its resources with a mistake, by name, or by path where the name is wrong.
    pub unusable: BTreeSet<String>,
}

/// How the configuration in use relates to its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// Whether the configuration that was read last has no mistake.
    pub is_valid: bool,
    /// Whether the configuration in use is older than the file.
    pub is_outdated: bool,
}

/// The counts of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceCounts {
    /// Allocations by gRPC code.
    pub allocations: BTreeMap<&'static str, u64>,
    /// Time of all allocations.
    pub allocate_time: Histogram,
    /// Registrations that the kubelet accepted.
    pub accepted: u64,
    /// Registrations that failed.
    pub refused: u64,
    /// Containers that started with a device that they may not be able to use.
    pub pre_start_findings: u64,
    /// ListAndWatch streams that are open.
    pub streams: u64,
    /// ListAndWatch responses that were sent.
    pub lists: u64,
}

/// Durations by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Durations up to each bound and above the one before; not cumulative.
    pub buckets: [u64; BUCKETS.len()],
    /// Number of durations.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        let bounds = BUCKETS.iter().zip(&mut self.buckets);
        let mut fitting = bounds.filter(|(bound, _)| duration <= Duration::from_micros(**bound));
        if let Some((_, bucket)) = fitting.next() {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += duration;
    }
}

impl Counts {
    /// A configuration was read; absent when nothing of it could be used.
    pub fn read_config(&mut self, config: Option<&ResourceList>) {
        let unusable = config.into_iter().flat_map(|config| &config.unusable);
        // All mistakes of a resource begin with `resourceList[2]`.
        let path = |mistakes: &Mistakes| {
            let path = &mistakes.0.first()?.path;
            path.split_inclusive(']').next().map(str::to_owned)
        };
        let named = |unusable: &Unusable| {
            let name = unusable.name.as_ref().map(ToString::to_string);
            name.or_else(|| path(&unusable.mistakes))
        };
        self.unusable = unusable.filter_map(named).collect();
        self.config.is_valid = config.is_some() && self.unusable.is_empty();
    }
}

impl Metrics {
    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock());
    }

    /// Changes the counts of a resource.
    pub fn of(&self, resource: &ResourceName, change: impl FnOnce(&mut ResourceCounts)) {
        let mut counts = self.lock();
        if !counts.resources.contains_key(resource) {
            counts
                .resources
                .insert(resource.clone(), ResourceCounts::default());
        }
        counts.resources.get_mut(resource).map(change);
    }

    /// Changes the counts of a resource, unless they were removed.
    pub fn of_existing(&self, resource: &ResourceName, change: impl FnOnce(&mut ResourceCounts)) {
        self.lock().resources.get_mut(resource).map(change);
    }

    /// Removes the counts of a resource that left the configuration.
    pub fn remove(&self, resource: &ResourceName) {
        self.lock().resources.remove(resource);
    }

    /// The counts as they are.
    pub fn now(&self) -> Counts {
        self.lock().clone()
    }

    /// A panic in another task leaves no count half changed.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for micros in [0, 100, 101, 1_000_000, 1_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            (histogram.count, histogram.sum),
            (5, Duration::from_micros(2_000_202))
        );
    }
}
