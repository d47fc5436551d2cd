//! Whether the device plugin is ready: the devices are scanned, the kubelet reads the lists, and it can allocate the healthy devices.

use std::collections::BTreeSet;

use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::Counts;

use crate::kubelet::counts::KubeletCounts;

/// Lists what is missing, in sentences; empty when the plugin is ready.
///
/// Pod resources that do not answer are not required: their directory may not be mounted.
pub(super) fn missing(
    pools: &Pools,
    owners: &Owners,
    counts: &Counts,
    kubelet: &KubeletCounts,
) -> Vec<String> {
    let mut missing = counts.missing();
    for pool in pools.pools.iter().filter(|pool| !pool.devices.is_empty()) {
        let name = &pool.name;
        let streams = kubelet.get(name).map_or(0, |counts| counts.streams);
        if streams == 0 {
            missing.push(format!(
                "{name}: the kubelet has no open ListAndWatch stream"
            ));
            continue;
        }
        let Some(pods) = owners.pods.as_ref().filter(|_| !owners.is_stale) else {
            continue;
        };
        let ours = pool.healthy().map(|device| device.id.to_string());
        let ours: BTreeSet<String> = ours.collect();
        let Some(allocatable) = &pods.allocatable else {
            continue;
        };
        // The kubelet does not list a resource without a healthy device.
        let theirs = allocatable.get(&name.to_string());
        let theirs = theirs.cloned().unwrap_or_default();
        if theirs != ours {
            let theirs = theirs.len();
            missing.push(format!(
                "{name}: {} devices are healthy, but the kubelet can allocate {theirs}, or others",
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

    use sriov_config::resource_list::{PfHealth, Publish, ResourceName};

    use sriov_inventory::owners::PodDevices;
    use sriov_inventory::pool::{Pool, PoolDevice};

    use super::*;
    use crate::kubelet::counts::ResourceCounts;

    fn pools(ids: &[&str]) -> Pools {
        let device = |id: &&str| PoolDevice::example(id.parse().unwrap());
        let pool = Pool {
            name: ResourceName::new("x.y", "vf").unwrap(),
            pf_health: PfHealth::default(),
            publish: Publish::default(),
            additional_info: Arc::default(),
            devices: Arc::new(ids.iter().map(device).collect()),
            unhealthy: BTreeMap::new(),
        };
        Pools {
            pools: vec![pool],
            ..Pools::default()
        }
    }

    #[test]
    fn ready_when_the_kubelet_can_allocate_what_is_healthy() {
        const ID: &str = "0000:01:10.0";
        let check =
            |ids: &[&str], scans, streams, believed: Option<&[&str]>, word: Option<&str>| {
                let pools = pools(ids);
                let counts = Counts {
                    are_devices_known: scans,
                    ..Counts::default()
                };
                let of_resource = ResourceCounts {
                    streams,
                    ..ResourceCounts::default()
                };
                let kubelet = [(pools.pools[0].name.clone(), of_resource)].into();
                let believed = believed.map(|ids| PodDevices {
                    allocatable: Some(
                        [(
                            "x.y/vf".to_owned(),
                            ids.iter().map(|id| (*id).to_owned()).collect(),
                        )]
                        .into(),
                    ),
                    ..PodDevices::default()
                });
                let owners = Owners {
                    pods: believed,
                    ..Owners::default()
                };
                let missing = missing(&pools, &owners, &counts, &kubelet).join("; ");
                assert!(
                    word.map_or(missing.is_empty(), |word| missing.contains(word)),
                    "{missing}"
                );
            };
        check(&[ID], false, 0, None, Some("not known yet"));
        let counts = Counts {
            are_devices_known: true,
            ..Counts::default()
        };
        // No resource in the configuration.
        let (pools, owners) = (Pools::default(), Owners::default());
        let missing = missing(&pools, &owners, &counts, &KubeletCounts::new());
        assert_eq!(missing, Vec::<String>::new());
        check(&[ID], true, 0, None, Some("no open ListAndWatch"));
        check(
            &[ID],
            true,
            1,
            Some(&[]),
            Some("1 devices are healthy, but the kubelet can allocate 0"),
        );
        check(&[ID], true, 1, Some(&["0000:01:10.2"]), Some("or others"));
        check(&[ID], true, 1, Some(&[ID]), None);
        check(&[ID], true, 1, None, None);
        check(&[], true, 0, None, None);
    }
}
