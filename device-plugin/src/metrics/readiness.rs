//! Whether the plugin does its job: the devices are known, kubelet listens, and believes what it was told.

use std::collections::BTreeSet;

use super::Counts;
use crate::ownership::Owners;
use crate::pools::Pools;

/// What is missing, in sentences; nothing when the plugin is ready.
///
/// A kubelet that tells nothing of its pod resources is not asked: its directory may not be mounted.
pub fn missing(pools: &Pools, owners: &Owners, counts: &Counts) -> Vec<String> {
    let mut missing = Vec::new();
    // A scan may wait for VFs that are just being made; there is a pool for each resource, if an empty one.
    if counts.scans.count == 0 || pools.pools.is_empty() {
        missing.push("the devices are not known yet".to_owned());
    }
    for pool in pools.pools.iter().filter(|pool| !pool.devices.is_empty()) {
        let name = &pool.resource.name;
        let streams = counts
            .resources
            .get(name)
            .map_or(0, |counts| counts.streams);
        if streams == 0 {
            missing.push(format!("{name}: kubelet does not listen"));
            continue;
        }
        let Some(pods) = owners.pods.as_ref().filter(|_| !owners.is_stale) else {
            continue;
        };
        let ours = pool.healthy().map(|device| device.id.to_string());
        let ours: BTreeSet<String> = ours.collect();
        // kubelet does not show a resource without a healthy device.
        let theirs = pods.allocatable.get(&name.to_string());
        let theirs = theirs.cloned().unwrap_or_default();
        if theirs != ours {
            let theirs = theirs.len();
            missing.push(format!(
                "{name}: {} devices are healthy, kubelet can allocate {theirs}, or others",
                ours.len()
            ));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use sriov_config::ResourceList;

    use super::*;
    use crate::metrics::Metrics;
    use crate::ownership::PodDevices;
    use crate::pools::{Gives, Pool, PoolDevice};

    fn pools(ids: &[&str]) -> Pools {
        let text = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["igbvf"]}}]}"#;
        let device = |id: &&str| PoolDevice {
            id: id.parse().unwrap(),
            driver: "igbvf".into(),
            numa_node: None,
            pf: None,
            representor: None,
            gives: Gives::default(),
        };
        let pool = Pool {
            resource: ResourceList::parse(text, "").unwrap().resources.remove(0),
            devices: Arc::new(ids.iter().map(device).collect()),
            unhealthy: BTreeMap::new(),
        };
        Pools {
            pools: vec![pool],
            ..Pools::default()
        }
    }

    #[test]
    fn ready_is_when_kubelet_believes_what_it_was_told() {
        const ID: &str = "0000:01:10.0";
        let check =
            |ids: &[&str], scans, streams, believed: Option<&[&str]>, word: Option<&str>| {
                let pools = pools(ids);
                let metrics = Metrics::default();
                if scans {
                    metrics.count(|counts| counts.scans.observe(Duration::ZERO));
                }
                metrics.of(&pools.pools[0].resource.name, |counts| {
                    counts.streams = streams;
                });
                let believed = believed.map(|ids| PodDevices {
                    allocatable: [(
                        "x.y/vf".to_owned(),
                        ids.iter().map(|id| (*id).to_owned()).collect(),
                    )]
                    .into(),
                    ..PodDevices::default()
                });
                let owners = Owners {
                    pods: believed,
                    ..Owners::default()
                };
                let missing = missing(&pools, &owners, &metrics.now()).join("; ");
                assert!(
                    word.map_or(missing.is_empty(), |word| missing.contains(word)),
                    "{missing}"
                );
            };
        check(&[ID], false, 0, None, Some("not known yet"));
        let metrics = Metrics::default();
        metrics.count(|counts| counts.scans.observe(Duration::ZERO));
        let missing = missing(&Pools::default(), &Owners::default(), &metrics.now());
        assert_eq!(missing, ["the devices are not known yet"]);
        check(&[ID], true, 0, None, Some("does not listen"));
        check(
            &[ID],
            true,
            1,
            Some(&[]),
            Some("1 devices are healthy, kubelet can allocate 0"),
        );
        check(&[ID], true, 1, Some(&["0000:01:10.2"]), Some("or others"));
        check(&[ID], true, 1, Some(&[ID]), None);
        check(&[ID], true, 1, None, None);
        check(&[], true, 0, None, None);
    }
}
