//! The traffic of VFs at the moment of a scrape, from sysfs: by the PF where its driver shows it, else by the VF's own network device.
//!
//! A VF in a pod whose PF's driver shows nothing has no counters here: zero would be a lie.

use std::collections::{BTreeMap, BTreeSet};

use sriov_host::snapshot::{Netdev, SriovRole};
use sriov_host::sysfs::{self, statistics};
use sriov_host::{HostRoot, PciAddress};

/// A VF and what went through it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VfTraffic {
    /// Name of its PF's network device.
    pub pf: String,
    /// Its index there.
    pub index: u16,
    /// Its address.
    pub address: String,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// Counters by the names of the kernel, for instance `rx_bytes`.
    pub counters: BTreeMap<String, u64>,
}

/// Reads the traffic of all VFs of some PFs; a PF that is gone has none.
pub fn read(host: &HostRoot, pfs: &BTreeSet<PciAddress>) -> Vec<VfTraffic> {
    let mut all = Vec::new();
    for pf in pfs {
        let Ok(Some(function)) = sysfs::function(host, *pf) else {
            continue;
        };
        let SriovRole::Pf { vfs, .. } = &function.role else {
            continue;
        };
        let name = function.netdevs.iter().find(|netdev| is_uplink(netdev));
        for (index, address) in vfs {
            all.push(VfTraffic {
                pf: name
                    .map(|netdev| netdev.name.to_string())
                    .unwrap_or_default(),
                index: index.get(),
                address: address.to_string(),
                numa_node: function.numa_node,
                counters: statistics::of_vf(host, *pf, *index, *address),
            });
        }
    }
    all
}

/// Not a representor: in switchdev mode those are beside the uplink, whose port is called `p0`.
fn is_uplink(netdev: &Netdev) -> bool {
    netdev.phys_port_name.as_deref().is_none_or(|name| {
        name.strip_prefix('p')
            .is_some_and(|port| port.parse::<u16>().is_ok())
    })
}
