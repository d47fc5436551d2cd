//! The result of one scan: an immutable snapshot of this machine's PCI functions; plain data, no I/O.

mod example;
mod port_role;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::port_role::uplink;
use crate::ifname::IfName;
use crate::pci::{PciAddress, PcieRoot};
use crate::vf::VfIndex;

/// All PCI functions of this machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSnapshot {
    /// The functions by address.
    pub functions: BTreeMap<PciAddress, PciFunction>,
    /// Subfunctions of PFs, by the name of their auxiliary device.
    pub subfunctions: BTreeMap<String, Subfunction>,
    /// PFs whose VFs were being created or removed at this moment: the list of these VFs may be incomplete.
    pub in_transition: BTreeMap<PciAddress, Transition>,
    /// DDP profiles by the function that runs them, if they were queried: sysfs does not show them.
    pub ddp_profiles: BTreeMap<PciAddress, String>,
    /// Devices that could not be read; the scan continues without them.
    pub problems: Vec<ScanProblem>,
    /// Number of files, links and directories that were looked up: the cost of the scan.
    pub lookups: usize,
}

impl HostSnapshot {
    /// The function at `address`.
    pub fn function(&self, address: PciAddress) -> Option<&PciFunction> {
        self.functions.get(&address)
    }

    /// The PF of a function, if the function is a VF and its PF is in the snapshot.
    pub fn pf_of(&self, function: &PciFunction) -> Option<&PciFunction> {
        match &function.role {
            SriovRole::Vf { pf, .. } => self.functions.get(pf),
            SriovRole::Pf { .. } | SriovRole::None => None,
        }
    }

    /// Takes some PFs with all of their VFs from another snapshot.
    pub fn take_pfs(&mut self, pfs: &BTreeSet<PciAddress>, other: &Self) {
        let is_of = |function: &PciFunction| match &function.role {
            SriovRole::Vf { pf, .. } => pfs.contains(pf),
            SriovRole::Pf { .. } | SriovRole::None => pfs.contains(&function.address),
        };
        self.functions.retain(|_, function| !is_of(function));
        let taken = other
            .functions
            .iter()
            .filter(|(_, function)| is_of(function));
        self.functions
            .extend(taken.map(|(address, function)| (*address, function.clone())));
    }

    /// Keeps the devices of another snapshot that exist and could not be read.
    pub fn keep_unreadable(&mut self, before: &Self) {
        if self.problems.is_empty() {
            return;
        }
        for ScanProblem { device, .. } in &self.problems {
            let address = device.parse().ok();
            if let Some(function) = address.and_then(|address| before.function(address)) {
                self.functions.insert(function.address, function.clone());
            }
            if let Some(subfunction) = before.subfunctions.get(device) {
                self.subfunctions
                    .insert(device.clone(), subfunction.clone());
            }
        }
        self.index_vfs();
    }

    /// Keeps the capabilities that functions had while their network device was here. A function that was created again or has another driver has none of it.
    pub fn keep_capabilities(&mut self, before: &Self) {
        for function in self.functions.values_mut() {
            let earlier = before.functions.get(&function.address).filter(|earlier| {
                earlier.incarnation == function.incarnation && earlier.driver == function.driver
            });
            if let (Some(earlier), true) = (earlier, function.netdevs.is_empty()) {
                let then = earlier.netdevs.first().map(|netdev| BeforePod {
                    has_rdma: !earlier.rdma.is_empty(),
                    link_type: netdev.link_type,
                });
                function.before_pod = then.or(earlier.before_pod);
            }
        }
    }

    /// Sets the index of each VF from the links of its PF.
    pub fn index_vfs(&mut self) {
        let mut indices = BTreeMap::new();
        for function in self.functions.values() {
            if let SriovRole::Pf { vfs, .. } = &function.role {
                indices.extend(vfs.iter().map(|(index, vf)| (*vf, *index)));
            }
        }
        for function in self.functions.values_mut() {
            if let SriovRole::Vf { index, .. } = &mut function.role {
                *index = indices.get(&function.address).copied();
            }
        }
    }

    /// Link type of a function; that of its PF when no scan saw its own network device.
    pub fn link_type(&self, function: &PciFunction) -> Option<LinkType> {
        let of_netdev = |netdev: &Netdev| netdev.link_type;
        let of_rdma = |function: &PciFunction| function.rdma_link.map(RdmaLink::link_type);
        let of_pf = || {
            let pf = self.pf_of(function)?;
            let of_port = pf.ports().next().map(of_netdev);
            // The VFs of a management device have ports of the class of their PF.
            of_port
                .or_else(|| of_rdma(pf))
                .or_else(|| pf.uplink().and(pf.class.ethernet()))
        };
        let own = function.netdevs.first().map(of_netdev);
        let own = own.or(function.before_pod.map(|then| then.link_type));
        own.or_else(|| of_rdma(function)).or_else(of_pf)
    }
}

/// Evidence that the VFs of a PF are being created or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Their number and their links differ: the kernel is creating or removing them.
    Unfinished,
    /// A link has no target: one VF was removed by hand, or the card was unplugged and is removed VF by VF.
    Torn,
}

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Its address.
    pub address: PciAddress,
    /// Identity of the function on this boot: a function that was removed and created again at the same address has another.
    pub incarnation: u64,
    /// Vendor id.
    pub vendor: PciId,
    /// Device id.
    pub device: PciId,
    /// Class code: base class, subclass, programming interface.
    pub class: PciClass,
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// NUMA node; `None` if the kernel reports -1.
    pub numa_node: Option<u32>,
    /// Root complex above it; `None` for a VF, which has that of its PF, and for a function whose root is not directly in `/sys/devices`.
    pub pcie_root: Option<PcieRoot>,
    /// IOMMU group and whether it is a no-IOMMU group of vfio.
    pub iommu_group: Option<IommuGroup>,
    /// Place in the SR-IOV topology.
    pub role: SriovRole,
    /// Network devices in this network namespace, sorted by port and name; empty while the netdev is in a pod or a userspace driver is bound.
    pub netdevs: Vec<Netdev>,
    /// Speed of its uplink in Mbit/s, read for PFs only; `None` while the link is down.
    pub speed: Option<u32>,
    /// Index from the firmware (`acpi_index`).
    pub acpi_index: Option<String>,
    /// Names of its RDMA devices, sorted.
    pub rdma: Vec<String>,
    /// First partition key of its first port, as the kernel prints it, for instance `0xffff`.
    pub pkey: Option<String>,
    /// Link of its RDMA ports; absent without RDMA.
    pub rdma_link: Option<RdmaLink>,
    /// Its vDPA devices, sorted by name.
    pub vdpa: Vec<VdpaDevice>,
    /// Its capabilities on this node before its network device was moved into a pod; absent while the device is here, and when no earlier scan saw it.
    pub before_pod: Option<BeforePod>,
}

/// Capabilities of a function when its network device was on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeforePod {
    /// Whether it had an RDMA device.
    pub has_rdma: bool,
    /// Link type of its network device.
    pub link_type: LinkType,
}

impl PciFunction {
    /// The network device through which its VFs are configured ([`uplink`]).
    pub fn uplink(&self) -> Option<&Netdev> {
        uplink(&self.netdevs)
    }

    /// Whether its VFs are ports of a switch that the host configures through their representors.
    ///
    /// `phys_switch_id` alone does not show that mode: `ice` has it in legacy mode too.
    pub fn is_switchdev(&self) -> bool {
        let is_of_switch = |netdev: &Netdev| netdev.phys_switch_id.is_some();
        let mut netdevs = self.netdevs.iter();
        netdevs.any(|netdev| is_of_switch(netdev) && netdev.is_representor())
    }

    /// The network devices of the function itself, one for each port: without representors and management devices.
    pub fn ports(&self) -> impl Iterator<Item = &Netdev> {
        port_role::ports(&self.netdevs)
    }
}

/// Link of the RDMA ports of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdmaLink {
    /// `RoCE` or iWARP: the network device has the state.
    Ethernet,
    /// InfiniBand.
    Infiniband {
        /// Whether a port is active: the subnet manager configured it.
        is_active: bool,
    },
}

impl RdmaLink {
    fn link_type(self) -> LinkType {
        match self {
            Self::Ethernet => LinkType::Ether,
            Self::Infiniband { .. } => LinkType::Infiniband,
        }
    }
}

/// A vDPA device of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VdpaDevice {
    /// Its name.
    pub name: String,
    /// Its driver: `vhost_vdpa` or `virtio_vdpa`.
    pub driver: Option<String>,
}

/// A subfunction: an auxiliary device of kind `sf` (Documentation/networking/devlink/devlink-port.rst).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subfunction {
    /// Name of the auxiliary device, for instance `mlx5_core.sf.4`.
    pub name: String,
    /// The PF.
    pub pf: PciAddress,
    /// Its number, which its creator chose.
    pub sfnum: u32,
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// Network devices in this network namespace, sorted by name.
    pub netdevs: Vec<Netdev>,
    /// Names of its RDMA devices, sorted.
    pub rdma: Vec<String>,
}

/// A 16-bit PCI vendor or device id, printed as four lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciId(pub u16);

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// A PCI class code as sysfs `class` gives it (24 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciClass(pub u32);

impl PciClass {
    /// Base class, for instance 0x02 for network controllers (PCI Code and ID Assignment Specification).
    pub fn base(self) -> u8 {
        let [_, base, _, _] = self.0.to_be_bytes();
        base
    }

    /// The link type of an Ethernet controller; absent for other classes.
    fn ethernet(self) -> Option<LinkType> {
        (self.0 >> 8 == 0x0200).then_some(LinkType::Ether)
    }
}

impl fmt::Display for PciClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// An IOMMU group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IommuGroup {
    /// Its number: the N of `/dev/vfio/N`.
    pub number: u32,
    /// Whether vfio created it without an IOMMU (`iommu_group/name` is `vfio-noiommu`).
    pub noiommu: bool,
}

impl IommuGroup {
    /// Name of its node in the host's `/dev/vfio` (drivers/vfio/group.c, `vfio_group_alloc`).
    pub fn node(self) -> String {
        let prefix = if self.noiommu { "noiommu-" } else { "" };
        format!("{prefix}{}", self.number)
    }
}

/// Place of a function in the SR-IOV topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SriovRole {
    /// Neither PF nor VF.
    None,
    /// A function with the SR-IOV capability.
    Pf {
        /// Largest number of VFs (`sriov_totalvfs`).
        total_vfs: u16,
        /// Its VFs, from the `virtfnN` links.
        vfs: BTreeMap<VfIndex, PciAddress>,
    },
    /// A virtual function.
    Vf {
        /// Its PF (`physfn`).
        pf: PciAddress,
        /// Index of the VF at its PF; `None` if no `virtfnN` link names the VF, as while VFs are created or removed.
        index: Option<VfIndex>,
    },
}

/// A network device of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netdev {
    /// Its name.
    pub name: IfName,
    /// Its interface index.
    pub ifindex: u32,
    /// Its link type.
    pub link_type: LinkType,
    /// Whether it is administratively up (`IFF_UP`), if the kernel reports it.
    pub is_up: Option<bool>,
    /// Whether it has carrier; unknown while it is down.
    pub carrier: Option<bool>,
    /// Its alternative names, up to 127 bytes each, if they were queried: sysfs does not show them.
    pub altnames: Vec<String>,
    /// `phys_switch_id`, present in switchdev mode; not read for a VF.
    pub phys_switch_id: Option<String>,
    /// `phys_port_name`, for instance `p0` for the uplink and `pf0vf3` for a representor.
    pub phys_port_name: Option<String>,
}

/// Link type of a network device (`ARPHRD_*`, `include/uapi/linux/if_arp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Ethernet, `ARPHRD_ETHER` (1).
    Ether,
    /// IP over InfiniBand, `ARPHRD_INFINIBAND` (32).
    Infiniband,
    /// Any other `ARPHRD_*` number.
    Other(u16),
}

impl LinkType {
    /// The link type of an `ARPHRD_*` number.
    pub fn from_arphrd(number: u16) -> Self {
        match number {
            1 => Self::Ether,
            32 => Self::Infiniband,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ether => f.write_str("ether"),
            Self::Infiniband => f.write_str("infiniband"),
            Self::Other(number) => write!(f, "arphrd-{number}"),
        }
    }
}

/// A device that a scan could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanProblem {
    /// Name of the device's directory.
    pub device: String,
    /// The reason, with the path.
    pub reason: String,
}

#[cfg(test)]
mod tests;
