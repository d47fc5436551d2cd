//! The traffic counters of VFs at a scrape: from the PF (sysfs or rtnetlink), where its driver has them, else from the VF's own network device.
//!
//! A VF in a pod whose PF's driver has no counters is left out: zero would be wrong.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use sriov_host::query::{self, LinkCounters, VfCounters};
use sriov_host::snapshot::{HostSnapshot, Netdev, PciFunction, SriovRole};
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
    let pfs = pfs.into_iter().filter_map(|pf| snapshot.function(pf));
    let pfs: Vec<(&PciFunction, Vec<Vf<'_>>)> = pfs.map(|pf| (pf, vfs(snapshot, pf))).collect();
    let netdevs = pfs.iter().flat_map(|(_, vfs)| vfs);
    let netdevs = netdevs.filter_map(|vf| vf.netdev.map(|netdev| netdev.ifindex));
    let links = Links {
        host,
        wanted: netdevs.collect(),
        counters: OnceCell::new(),
    };
    let names: Vec<&'static str> = VF_COUNTERS.iter().map(|(name, ..)| *name).collect();
    let mut all = Vec::new();
    for (pf, vfs) in &pfs {
        let uplink = pf.uplink();
        let of_all = uplink.map(|uplink| by_rtnetlink(host, uplink));
        let sources = Sources {
            host,
            pf: pf.address,
            has_pf_counters: statistics::has_pf_counters(host, pf.address),
            reported: of_all.unwrap_or_default(),
            links: &links,
            names: &names,
        };
        for vf in vfs {
            all.push(VfTraffic {
                pf: uplink
                    .map(|netdev| netdev.name.to_string())
                    .unwrap_or_default(),
                index: vf.index.get(),
                address: vf.address.to_string(),
                numa_node: pf.numa_node,
                counters: sources.counters(vf),
            });
        }
    }
    all
}

/// A VF in the newest snapshot.
#[derive(Clone, Copy, Debug)]
struct Vf<'a> {
    index: VfIndex,
    address: PciAddress,
    /// Its network device, unless that is in a pod.
    netdev: Option<&'a Netdev>,
}

/// The VFs of a function; none if it is not a PF.
fn vfs<'a>(snapshot: &'a HostSnapshot, pf: &'a PciFunction) -> Vec<Vf<'a>> {
    let SriovRole::Pf { vfs, .. } = &pf.role else {
        return Vec::new();
    };
    let vf = |(index, address): (&VfIndex, &PciAddress)| Vf {
        index: *index,
        address: *address,
        netdev: snapshot.function(*address).and_then(|vf| vf.ports().next()),
    };
    vfs.iter().map(vf).collect()
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

/// The counters of the VFs' own network devices: one request for all of them, if a VF needs it.
struct Links<'a> {
    host: &'a HostRoot,
    /// Their indices.
    wanted: BTreeSet<u32>,
    counters: OnceCell<LinkCounters>,
}

impl Links<'_> {
    /// The counters of one; `None` if the kernel does not list it.
    fn get(&self, netdev: &Netdev) -> Option<&Counters> {
        let counters = self.counters.get_or_init(|| self.request());
        counters.get(&netdev.ifindex)
    }

    /// Empty for a captured tree.
    fn request(&self) -> LinkCounters {
        if !self.host.is_machine() {
            return LinkCounters::new();
        }
        query::link_counters(&self.wanted).unwrap_or_else(|error| {
            tracing::debug!("the kernel does not list the counters of links: {error}");
            LinkCounters::new()
        })
    }
}

/// Where the counters of the VFs of a PF are.
struct Sources<'a> {
    host: &'a HostRoot,
    pf: PciAddress,
    has_pf_counters: bool,
    /// The counters that the PF's driver reports to rtnetlink.
    reported: VfCounters,
    links: &'a Links<'a>,
    names: &'a [&'static str],
}

impl Sources<'_> {
    /// Reads the first source that has counters. Those of the PF come first, because they are there while the VF is in a pod as well.
    fn counters(&self, vf: &Vf<'_>) -> Counters {
        if self.has_pf_counters {
            let in_sysfs = statistics::by_pf(self.host, self.pf, vf.index, self.names);
            if !in_sysfs.is_empty() {
                return in_sysfs;
            }
        }
        let reported = self.reported.get(&vf.index);
        let listed = || self.links.get(vf.netdev?);
        let counters = reported.or_else(listed).cloned();
        // A network device that came back after the scan may have another index.
        counters.unwrap_or_else(|| statistics::own(self.host, vf.address, self.names))
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
        let netdev = Netdev {
            ifindex: 9,
            ..Netdev::example("eth3".parse().unwrap())
        };
        let vf = |netdev| Vf {
            index: VfIndex::new(2),
            address: vf,
            netdev,
        };
        let read = |vf: Vf<'_>, reported: &VfCounters, listed: &LinkCounters| -> Vec<&str> {
            let links = Links {
                host: &host,
                wanted: BTreeSet::new(),
                counters: OnceCell::from(listed.clone()),
            };
            let sources = Sources {
                host: &host,
                pf,
                has_pf_counters: statistics::has_pf_counters(&host, pf),
                reported: reported.clone(),
                links: &links,
                names: &["rx_bytes", "rx_multicast", "tx_bytes"],
            };
            sources.counters(&vf).into_keys().collect()
        };
        let (here, away) = (vf(Some(&netdev)), vf(None));
        let none = (VfCounters::new(), LinkCounters::new());
        let reported = BTreeMap::from([(VfIndex::new(2), BTreeMap::from([("rx_bytes", 1)]))]);
        let listed = BTreeMap::from([(9, BTreeMap::from([("rx_packets", 1)]))]);
        assert_eq!(read(here, &none.0, &none.1), Vec::<&str>::new());
        assert_eq!(read(away, &none.0, &listed), Vec::<&str>::new());
        write(format!("{}/net/eth3/statistics/multicast", here.address));
        // It came back after the scan.
        assert_eq!(read(away, &none.0, &listed), ["rx_multicast"]);
        assert_eq!(read(here, &none.0, &none.1), ["rx_multicast"]);
        assert_eq!(read(here, &none.0, &listed), ["rx_packets"]);
        assert_eq!(read(away, &reported, &listed), ["rx_bytes"]);
        write(format!("{pf}/sriov/2/stats/tx_bytes"));
        assert_eq!(read(here, &reported, &listed), ["tx_bytes"]);
    }
}
