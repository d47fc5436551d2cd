//! VFs that pods have and nobody brought into them: Multus is missing, or the pod names no network. It is said once, when it holds.
//!
//! [`found`] looks; [`Patience`] decides, from data, the clock is given.

use std::collections::BTreeMap;
use std::time::Duration;

use sriov_host::{HostRoot, PciAddress, sysfs};
use tokio::time::Instant;

use crate::ownership::Owners;
use crate::pools::Pools;

/// A pod whose containers have not begun has its device already.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to look for.
pub fn advice(resource: &str) -> String {
    format!(
        "not attached to its holder: no Multus on the node, or the pod names no network of {resource}"
    )
}

/// The VFs that a pod has, that the CNI plugin did not attach, and whose network device is on the node; with a line for the log.
pub fn found(host: &HostRoot, pools: &Pools, owners: &Owners) -> BTreeMap<PciAddress, String> {
    let mut found = BTreeMap::new();
    for pool in &pools.pools {
        let vfs = pool.devices.iter().filter(|device| device.pf.is_some());
        let vfs = vfs.filter_map(|device| device.id.address());
        for vf in vfs.filter(|vf| owners.is_unattached(*vf)) {
            let is_here = sysfs::netdev_index(host, vf).is_ok_and(|index| index.is_some());
            let holders = owners.holders(&vf.to_string());
            if let (Some(holder), true) = (holders.first(), is_here) {
                let advice = advice(&pool.resource.name.to_string());
                found.insert(vf, format!("{vf}, held by {holder}, is {advice}"));
            }
        }
    }
    found
}

/// What was found before, since when, and whether it was said.
#[derive(Clone, Debug, Default)]
pub struct Patience(BTreeMap<PciAddress, (Instant, bool)>);

impl Patience {
    /// The lines that are to be said now.
    pub fn due(&mut self, found: BTreeMap<PciAddress, String>, now: Instant) -> Vec<String> {
        self.0.retain(|vf, _| found.contains_key(vf));
        let mut due = Vec::new();
        for (vf, line) in found {
            let (since, is_said) = self.0.entry(vf).or_insert((now, false));
            if !*is_said && now.saturating_duration_since(*since) >= PATIENCE {
                *is_said = true;
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
    fn it_is_said_once_when_it_held_for_half_a_minute_and_again_after_it_was_over() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let mut check = |second: u64, ids: &[&str], expected: &[&str]| {
            let found = ids.iter().map(|id| (id.parse().unwrap(), (*id).to_owned()));
            let due = patience.due(found.collect(), start + Duration::from_secs(second));
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
