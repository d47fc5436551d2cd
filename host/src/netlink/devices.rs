//! The seam for what is not netlink: the device behind a link, its ethtool settings, what is stacked on it, and the namespace's number.

use std::fmt::Debug;
use std::io;
use std::os::fd::AsFd;

use crate::ethtool::{Ethtool, EthtoolSettings};
use crate::netns;
use crate::pci::PciAddress;
use crate::{tcx, uppers};

/// Reports about the network devices of one namespace.
pub(super) trait Devices: Debug + Send + Sync {
    /// PCI address of the device behind a link.
    fn device(&self, link: u32) -> io::Result<Option<PciAddress>>;
    /// Settings of a link that a pod can change.
    fn settings(&self, link: u32) -> io::Result<EthtoolSettings>;
    /// Whether anything is stacked on a link, in whatever namespace.
    fn has_uppers(&self, link: u32) -> io::Result<bool>;
    /// Whether programs of tcx are attached to a link.
    fn has_programs(&self, link: u32) -> io::Result<bool>;
    /// Number of the namespace.
    fn netns_cookie(&self) -> Option<u64>;
}

/// The network devices of a namespace of the kernel.
#[derive(Debug)]
pub(super) struct KernelDevices {
    pub(super) ethtool: Ethtool,
    /// Whether it is the namespace of this process.
    pub(super) is_own: bool,
}

impl Devices for KernelDevices {
    fn device(&self, link: u32) -> io::Result<Option<PciAddress>> {
        self.ethtool.device(link)
    }

    fn settings(&self, link: u32) -> io::Result<EthtoolSettings> {
        self.ethtool.settings(link)
    }

    fn has_uppers(&self, link: u32) -> io::Result<bool> {
        if self.is_own {
            uppers::exist(link)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn has_programs(&self, link: u32) -> io::Result<bool> {
        if self.is_own {
            tcx::has_programs(link)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn netns_cookie(&self) -> Option<u64> {
        netns::cookie(self.ethtool.as_fd())
    }
}
