//! Examples for tests: a test sets the fields that it is about.

use super::{LinkType, Netdev, PciClass, PciFunction, PciId, SriovRole};
use crate::ifname::IfName;
use crate::pci::PciAddress;

impl PciFunction {
    /// A network function of Intel without SR-IOV, driver, network device and NUMA node.
    pub fn example(address: PciAddress) -> Self {
        Self {
            address,
            incarnation: 1,
            vendor: PciId(0x8086),
            device: PciId(0x10ca),
            class: PciClass(0x02_0000),
            driver: None,
            numa_node: None,
            pcie_root: None,
            iommu_group: None,
            role: SriovRole::None,
            netdevs: Vec::new(),
            speed: None,
            acpi_index: None,
            rdma: Vec::new(),
            pkey: None,
            rdma_link: None,
            vdpa: Vec::new(),
            before_pod: None,
        }
    }
}

impl Netdev {
    /// An Ethernet device that is up and has carrier, without a port name.
    pub fn example(name: IfName) -> Self {
        Self {
            name,
            ifindex: 1,
            link_type: LinkType::Ether,
            is_up: Some(true),
            carrier: Some(true),
            altnames: Vec::new(),
            phys_switch_id: None,
            phys_port_name: None,
        }
    }
}
