//! The traffic counters of VFs at a scrape: from the PF (sysfs or rtnetlink), where its driver has them, else from the VF's own network device.
//!
//! A VF in a pod whose PF's driver has no counters is left out: zero would be wrong.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use sriov_host::query::{self, LinkCounters, VfCounters};
use sriov_host::snapshot::{HostSnapshot, Netdev, SriovRole};
use sriov_host::sysfs::statistics::{self, Counters};
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

/// Reads the traffic of all VFs of the PFs that have a device in a pool, as the newest snapshot shows them.
pub fn read(host: &HostRoot, snapshot: &HostSnapshot, pools: &Pools) -> Vec<VfTraffic> {
    let devices = pools.pools.iter().flat_map(|pool| pool.devices.iter());
    let pfs: BTreeSet<PciAddress> = devices.filter_map(PoolDevice::pf_address).collect();
    let names: Vec<&'static str> = VF_COUNTERS.iter().map(|(name, ..)| *name).collect();
    let links = OnceCell::new();
    let mut all = Vec::new();
    for pf in pfs {
        let Some(function) = snapshot.function(pf) else {
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
            links: &links,
            names: &names,
        };
        for (index, address) in vfs {
            let vf = snapshot.function(*address);
            let netdev = vf.and_then(|vf| vf.ports().next());
            all.push(VfTraffic {
                pf: uplink
                    .map(|netdev| netdev.name.to_string())
                    .unwrap_or_default(),
                index: index.get(),
                address: address.to_string(),
                numa_node: function.numa_node,
                counters: sources.counters(*index, *address, netdev),
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

/// The counters of all links, in one request; `None` for a captured tree, and if the kernel does not answer.
fn of_links(host: &HostRoot) -> Option<LinkCounters> {
    match host.is_machine().then(query::link_counters)? {
        Ok(links) => Some(links),
        Err(error) => {
            tracing::debug!("the kernel does not list the counters of links: {error}");
            None
        }
    }
}

/// Where the counters of the VFs of a PF are.
struct Sources<'a> {
    host: &'a HostRoot,
    pf: PciAddress,
    has_pf_counters: bool,
    /// The counters that the PF's driver reports to rtnetlink.
    reported: VfCounters,
    /// The counters of all links, if a VF needs them.
    links: &'a OnceCell<Option<LinkCounters>>,
    names: &'a [&'static str],
}

impl Sources<'_> {
    /// Reads the first source that has counters. Those of the PF come first, because they are there while the VF is in a pod as well.
    fn counters(&self, index: VfIndex, vf: PciAddress, netdev: Option<&Netdev>) -> Counters {
        if self.has_pf_counters {
            let in_sysfs = statistics::by_pf(self.host, self.pf, index, self.names);
            if !in_sysfs.is_empty() {
                return in_sysfs;
            }
        }
        if let Some(reported) = self.reported.get(&index) {
            return reported.clone();
        }
        let Some(netdev) = netdev else {
            return Counters::new();
        };
        match self.links.get_or_init(|| of_links(self.host)) {
            Some(links) => links.get(&netdev.ifindex).cloned().unwrap_or_default(),
            None => statistics::own(self.host, vf, &netdev.name, self.names),
        }
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
        let netdev = Netdev {
            ifindex: 9,
            ..Netdev::example("eth3".parse().unwrap())
        };
        let read = |netdev, reported: &VfCounters, links: Option<&LinkCounters>| -> Vec<&str> {
            let links = OnceCell::from(links.cloned());
            let sources = Sources {
                host: &host,
                pf,
                has_pf_counters: statistics::has_pf_counters(&host, pf),
                reported: reported.clone(),
                links: &links,
                names: &["rx_bytes", "tx_bytes", "tx_errors"],
            };
            let counters = sources.counters(index, vf, netdev);
            counters.into_keys().collect()
        };
        let (here, nothing) = (Some(&netdev), VfCounters::new());
        let reported = VfCounters::from([(index, BTreeMap::from([("rx_bytes", 1)]))]);
        let links = LinkCounters::from([(9, BTreeMap::from([("rx_packets", 1)]))]);
        assert_eq!(read(here, &nothing, None), Vec::<&str>::new());
        write(format!("{vf}/net/eth3/statistics/tx_errors"));
        assert_eq!(read(here, &nothing, None), ["tx_errors"]);
        // The kernel's answer replaces the files.
        assert_eq!(read(here, &nothing, Some(&links)), ["rx_packets"]);
        // In a pod.
        assert_eq!(read(None, &nothing, Some(&links)), Vec::<&str>::new());
        assert_eq!(read(None, &reported, Some(&links)), ["rx_bytes"]);
        write(format!("{pf}/sriov/2/stats/tx_bytes"));
        assert_eq!(read(here, &reported, Some(&links)), ["tx_bytes"]);
    }
}
