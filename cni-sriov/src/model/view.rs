//! A VF and its PF as they are before anything is changed.

use sriov_host::ethtool::EthtoolSettings;
use sriov_host::netlink::Link;
use sriov_host::vf::VfSettings;
use sriov_host::{PciAddress, VfIndex};

use super::driver::Driver;

/// A VF as it is before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VfView {
    /// PCI address of the VF.
    pub(crate) address: PciAddress,
    /// Identity of the device at that address ([`sriov_host::sysfs::incarnation`]).
    pub(crate) incarnation: u64,
    /// Its PF.
    pub(crate) pf: PfView,
    /// Its index at the PF.
    pub(crate) index: VfIndex,
    /// Settings that the PF reports; absent when they were not read or the driver does not report them.
    pub(crate) settings: Option<VfSettings>,
    /// Its driver.
    pub(crate) driver: Driver,
    /// How a pod uses the VF.
    pub(crate) side: VfSide,
    /// Settings of its network device that `ethtool` can change; absent without a network device, or when they cannot be read.
    pub(crate) ethtool: Option<EthtoolSettings>,
}

/// The PF of a VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PfView {
    /// PCI address of the PF.
    pub(crate) address: PciAddress,
    /// Name of its uplink.
    pub(crate) name: String,
    /// Its driver.
    pub(crate) driver: Driver,
    /// Interface index of its uplink.
    pub(crate) ifindex: u32,
}

/// How a pod uses a VF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VfSide {
    /// By a network device of the kernel, which is on the host now.
    Netdev(Link),
    /// By a driver in user space; the VF is bound to this kernel driver.
    Userspace(Driver),
}

impl VfSide {
    /// Whether a driver in user space has the VF.
    pub(crate) fn is_userspace(&self) -> bool {
        matches!(self, Self::Userspace(_))
    }
}

impl VfView {
    /// The network device of the VF; none with a driver for user space.
    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.side {
            VfSide::Netdev(link) => Some(link),
            VfSide::Userspace(_) => None,
        }
    }
}
