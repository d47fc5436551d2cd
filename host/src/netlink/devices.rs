//! The seam for what is not netlink: the device behind a link, its ethtool settings, and the namespace's number.

use std::fmt::Debug;
use std::io;
use std::os::fd::AsFd;

use crate::ethtool::{Ethtool, EthtoolSettings};
use crate::netns;
use crate::pci::PciAddress;

/// Reports about the network devices of one namespace.
pub(super) trait Devices: Debug + Send + Sync {
    /// PCI address of the device behind a link.
    fn device(&self, link: u32) -> io::Result<Option<PciAddress>>;
    /// Settings of a link that a pod can change.
    fn settings(&self, link: u32) -> io::Result<EthtoolSettings>;
    /// Number of the namespace.
    fn netns_cookie(&self) -> Option<u64>;
}

impl Devices for Ethtool {
    fn device(&self, link: u32) -> io::Result<Option<PciAddress>> {
        self.device(link)
    }

    fn settings(&self, link: u32) -> io::Result<EthtoolSettings> {
        self.settings(link)
    }

    fn netns_cookie(&self) -> Option<u64> {
        netns::cookie(self.as_fd())
    }
}
