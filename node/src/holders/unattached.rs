//! VFs that a pod holds and that the CNI plugin did not attach: Multus is missing, or the pod names no network. Logged once for each VF.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sriov_host::{HostRoot, PciAddress, sysfs};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;

/// A pod holds its device some time before its containers start.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to check.
pub fn advice(resource: &str) -> String {
    format!(
        "not attached to its holder: no Multus on the node, or the pod names no network of {resource}"
    )
}

/// The VFs that a pod holds, that the CNI plugin did not attach, and whose network device is on the node; each with a line for the log.
pub fn unattached_vfs(
    host: &HostRoot,
    pools: &Pools,
    owners: &Owners,
) -> BTreeMap<PciAddress, String> {
    let mut found = BTreeMap::new();
    for pool in &pools.pools {
        let vfs = pool.devices.iter().filter(|device| device.pf.is_some());
        let unattached = vfs.filter_map(|device| {
            let address = device.id.address()?;
            owners.is_unattached(address).then_some((device, address))
        });
        for (device, vf) in unattached {
            let is_here = sysfs::netdev_index(host, vf).is_ok_and(|index| index.is_some());
            let holder = owners.holders(&device.id).next();
            if let (Some(holder), true) = (holder, is_here) {
                let advice = advice(&pool.name.to_string());
                found.insert(vf, format!("{vf}, held by {holder}, is {advice}"));
            }
        }
    }
    found
}

/// The unattached VFs so far: since when, and whether they were logged.
#[derive(Clone, Debug, Default)]
pub struct UnattachedVfs(BTreeMap<PciAddress, (Instant, bool)>);

impl UnattachedVfs {
    /// The lines to log now: each VF once, after it has been unattached for a while.
    pub fn due(&mut self, found: BTreeMap<PciAddress, String>, now: Instant) -> Vec<String> {
        self.0.retain(|vf, _| found.contains_key(vf));
        let mut due = Vec::new();
        for (vf, line) in found {
            let (since, is_logged) = self.0.entry(vf).or_insert((now, false));
            if !*is_logged && now.saturating_duration_since(*since) >= PATIENCE {
                *is_logged = true;
                due.push(line);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vf_is_logged_once_after_half_a_minute() {
        let (mut unattached, start) = (UnattachedVfs::default(), Instant::now());
        let mut check = |second: u64, ids: &[&str], expected: &[&str]| {
            let found = ids.iter().map(|id| (id.parse().unwrap(), (*id).to_owned()));
            let due = unattached.due(found.collect(), start + Duration::from_secs(second));
            assert_eq!(due, expected, "after {second} s");
        };
        let (one, two) = ("0000:01:10.0", "0000:01:10.2");
        check(0, &[one], &[]);
        check(10, &[one, two], &[]);
        check(30, &[one, two], &[one]);
        check(40, &[one, two], &[two]);
        check(90, &[one, two], &[]);
        check(100, &[two], &[]);
        check(110, &[one, two], &[]);
        check(140, &[one, two], &[one]);
    }
}
