//! Counts of every daemon, whatever its front end is: scans and the state of its configuration. Every task adds to the counts.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sriov_config::resource_list::Unusable;
use sriov_config::{Mistakes, ResourceList};

/// Upper bounds of the buckets in microseconds.
pub const BUCKETS: [u64; 9] = [
    100, 250, 500, 1_000, 2_500, 5_000, 25_000, 100_000, 1_000_000,
];

/// Counts that all tasks share.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T: Clone> Shared<T> {
    /// Changes the counts.
    pub fn count<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock())
    }

    /// The counts as they are.
    pub fn now(&self) -> T {
        self.lock().clone()
    }

    /// A panic in another task leaves no count half changed.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of a daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Time of the scans that succeeded.
    pub scans: Histogram,
    /// Scans that failed, or did not finish in time.
    pub failed_scans: u64,
    /// Whether the scan in progress should have finished.
    pub is_scan_overdue: bool,
    /// Whether all devices were seen, those of each PF after its VFs were created.
    pub are_devices_known: bool,
    /// The configuration in use.
    pub config: ConfigState,
    /// Its resources with a mistake, by name, or by path where the name is wrong.
    pub unusable: BTreeSet<String>,
}

impl Counts {
    /// What any front end lacks to be ready, in sentences.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.are_devices_known {
            missing.push("the devices are not known yet".to_owned());
        }
        if self.is_scan_overdue {
            missing
                .push("a scan of the devices does not finish: a read of sysfs blocks".to_owned());
        }
        missing
    }
}

/// How the configuration in use relates to its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// Whether the configuration that was read last has no mistake.
    pub is_valid: bool,
    /// Whether the configuration in use is older than the file.
    pub is_outdated: bool,
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
