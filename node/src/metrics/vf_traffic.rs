//! The traffic counters of VFs at a scrape: from the PF (sysfs or rtnetlink), where its driver has them, else from the VF's own network device.
//!
//! A VF in a pod whose PF's driver has no counters is left out: zero would be wrong.

use std::collections::BTreeSet;

use sriov_host::query::{self, VfCounters};
use sriov_host::snapshot::{Netdev, SriovRole};
use sriov_host::sysfs::statistics::Counters;
use sriov_host::sysfs::{self, statistics};
use sriov_host::{HostRoot, PciAddress, VfIndex};
use sriov_inventory::pool::{PoolDevice, Pools};

use super::vf_counters::VF_COUNTERS;

/// A VF and its traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VfTraffic {
    /// Name of its PF's network device.
    pub pf: String,
    /// Its index at the PF.
    pub index: u16,
    /// Its address.
    pub address: String,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// Counters by the kernel's names, for instance `rx_bytes`.
    pub counters: Counters,
}

/// Reads the traffic of all VFs of the PFs that have a device in a pool; a PF that was removed has none.
pub fn read(host: &HostRoot, pools: &Pools) -> Vec<VfTraffic> {
    let devices = pools.pools.iter().flat_map(|pool| pool.devices.iter());
    let pfs: BTreeSet<PciAddress> = devices.filter_map(PoolDevice::pf_address).collect();
    let names: Vec<&'static str> = VF_COUNTERS.iter().map(|(name, ..)| *name).collect();
    let mut all = Vec::new();
    for pf in pfs {
        let Ok(Some(function)) = sysfs::function(host, pf) else {
            continue;
        };
        let SriovRole::Pf { vfs, .. } = &function.role else {
            continue;
        };
        let uplink = function.uplink();
        let of_all = uplink.map(|uplink| by_rtnetlink(host, uplink));
        let sources = Sources {
            host,
            pf,
            has_pf_counters: statistics::has_pf_counters(host, pf),
            reported: of_all.unwrap_or_default(),
            names: &names,
        };
        for (index, address) in vfs {
            all.push(VfTraffic {
                pf: uplink
                    .map(|netdev| netdev.name.to_string())
                    .unwrap_or_default(),
                index: index.get(),
                address: address.to_string(),
                numa_node: function.numa_node,
                counters: sources.counters(*index, *address),
            });
        }
    }
    all
}

/// The counters that the PF's driver reports to rtnetlink; a captured tree has no kernel to query.
fn by_rtnetlink(host: &HostRoot, uplink: &Netdev) -> VfCounters {
    if !host.is_machine() {
        return VfCounters::new();
    }
    query::vf_counters(uplink.ifindex).unwrap_or_else(|error| {
        tracing::debug!(
            "{} does not report counters of its VFs: {error}",
            uplink.name
        );
        VfCounters::new()
    })
}

/// Where the counters of the VFs of a PF are.
struct Sources<'a> {
    host: &'a HostRoot,
    pf: PciAddress,
    has_pf_counters: bool,
    /// The counters that the PF's driver reports to rtnetlink.
    reported: VfCounters,
    names: &'a [&'static str],
}

impl Sources<'_> {
    /// Reads the first source that has counters. Those of the PF come first, because they are there while the VF is in a pod as well.
    fn counters(&self, index: VfIndex, vf: PciAddress) -> Counters {
        if self.has_pf_counters {
            let in_sysfs = statistics::by_pf(self.host, self.pf, index, self.names);
            if !in_sysfs.is_empty() {
                return in_sysfs;
            }
        }
        let reported = self.reported.get(&index).cloned();
        reported.unwrap_or_else(|| statistics::own(self.host, vf, self.names))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    #[test]
    fn counters_of_the_pf_take_precedence() {
        let dir = tempfile::tempdir().unwrap();
        let host = HostRoot::new(dir.path());
        let (pf, vf): (PciAddress, PciAddress) = (
            "0000:01:00.0".parse().unwrap(),
            "0000:01:10.0".parse().unwrap(),
        );
        let write = |path: String| {
            let path = host.join("sys/bus/pci/devices").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "7").unwrap();
        };
        let index = VfIndex::new(2);
        let read = |reported: &VfCounters| -> Vec<&str> {
            let sources = Sources {
                host: &host,
                pf,
                has_pf_counters: statistics::has_pf_counters(&host, pf),
                reported: reported.clone(),
                names: &["rx_bytes", "tx_bytes", "tx_errors"],
            };
            sources.counters(index, vf).into_keys().collect()
        };
        let nothing = VfCounters::new();
        let reported = VfCounters::from([(index, BTreeMap::from([("rx_bytes", 1)]))]);
        assert_eq!(read(&nothing), Vec::<&str>::new());
        write(format!("{vf}/net/eth3/statistics/tx_errors"));
        assert_eq!(read(&nothing), ["tx_errors"]);
        assert_eq!(read(&reported), ["rx_bytes"]);
        write(format!("{pf}/sriov/2/stats/tx_bytes"));
        assert_eq!(read(&reported), ["tx_bytes"]);
    }
}
