//! The scan of sysfs, counted.

use std::time::Instant;

use sriov_host::HostRoot;
use sriov_host::snapshot::HostSnapshot;
use sriov_host::sysfs::{self, ScanError};

use crate::counts::{Counts, Shared};

/// Scans all PCI functions; counts how long it took, or that it failed.
///
/// # Errors
/// When sysfs itself cannot be read; a single device that cannot be read is a problem in the snapshot.
pub fn scan(host: &HostRoot, counts: &Shared<Counts>) -> Result<HostSnapshot, ScanError> {
    let start = Instant::now();
    let snapshot = sysfs::scan(host);
    counts.count(|counts| match &snapshot {
        Ok(_) => counts.scans.observe(start.elapsed()),
        Err(_) => counts.failed_scans += 1,
    });
    snapshot
}
