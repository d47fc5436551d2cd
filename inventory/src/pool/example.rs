//! Examples for tests: a test sets the fields that it is about.

use sriov_host::PciAddress;
use sriov_host::snapshot::PciId;

use super::{Extras, Pf, PoolDevice};
use crate::id::DeviceId;

impl PoolDevice {
    /// A device of Intel with `igbvf`, without PF, NUMA node and extras.
    pub fn example(id: DeviceId) -> Self {
        Self {
            id,
            driver: "igbvf".into(),
            numa_node: None,
            pcie_root: None,
            pf: None,
            vendor: PciId(0x8086),
            device: PciId(0x10ca),
            vf_index: None,
            link_type: None,
            has_rdma: false,
            representor: None,
            extras: Extras::default(),
        }
    }
}

impl Pf {
    /// A PF of Intel without network device.
    pub fn example(address: PciAddress) -> Self {
        Self {
            address,
            name: None,
            vendor: PciId(0x8086),
            device: PciId(0x10c9),
            speed: None,
            is_switchdev: false,
        }
    }
}
