//! What a change can fail with.

use std::path::PathBuf;

use sriov_host::driver::DriverError;
use sriov_host::netlink::{NetlinkError, OpenError};
use sriov_host::netns::NetnsError;
use sriov_host::sysfs::ScanError;
use sriov_host::{IfName, PciAddress, VfIndex};

use crate::device::DeviceError;
use crate::model::Driver;

/// A change that was refused or had no effect.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The pod's network namespace cannot be used.
    #[error("cannot use the network namespace of the pod")]
    Netns(#[source] NetnsError),
    /// The pod's network namespace is the plugin's own.
    #[error("CNI_NETNS `{}` is the host's own network namespace", .0.display())]
    HostNetns(PathBuf),
    /// The pod has an interface of that name.
    #[error("the pod already has an interface `{0}`")]
    NameTaken(IfName),
    /// The interfaces of the pod cannot be read.
    #[error("cannot tell whether the pod already has an interface of this name")]
    PodLinks(#[source] NetlinkError),
    /// The kernel does not let this process change network devices.
    #[error("cannot change network devices")]
    Privilege(#[source] NetlinkError),
    /// The kernel refused a setting of the VF.
    #[error("{setting}: {driver} on {pf} refuses it for VF {vf}")]
    Setting {
        /// The setting, as in the configuration.
        setting: &'static str,
        /// Driver of the PF.
        driver: Driver,
        /// The PF.
        pf: PciAddress,
        /// Index of the VF.
        vf: VfIndex,
        /// The request and its answer.
        source: NetlinkError,
    },
    /// A setting was accepted, and another value is reported.
    #[error(
        "{setting}: {driver} on {pf} accepted it for VF {vf} but reports {found}, wanted {wanted}"
    )]
    NotKept {
        /// The setting, as in the configuration.
        setting: &'static str,
        /// The wanted value.
        wanted: String,
        /// The reported value.
        found: String,
        /// Driver of the PF.
        driver: Driver,
        /// The PF.
        pf: PciAddress,
        /// Index of the VF.
        vf: VfIndex,
    },
    /// The kernel refused to read or change the network device.
    #[error("cannot read or change the network device of VF {device}")]
    Link {
        /// The VF.
        device: PciAddress,
        /// The request and its answer.
        source: NetlinkError,
    },
    /// The network device is missing.
    #[error("the network device of VF {0} is neither on the host nor in the pod")]
    NoLink(PciAddress),
    /// The VF could not be restored; it is held back, and the restoration is tried again.
    #[error("VF {device} is held back, it is not as it was before: {what}")]
    Dirty {
        /// The VF.
        device: PciAddress,
        /// The difference.
        what: String,
    },
    /// Settings of an earlier attachment wait for a link of the PF.
    #[error(
        "VF {device} still has {settings} of an earlier attachment: `{pf}` can change it only while it has a link"
    )]
    Postponed {
        /// The VF.
        device: PciAddress,
        /// The PF.
        pf: PciAddress,
        /// Names of the settings.
        settings: String,
    },
    /// The driver of the VF could not be taken away or given back.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// There is no netlink socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// sysfs could not be read or written.
    #[error(transparent)]
    Sysfs(#[from] ScanError),
    /// The device is gone, or not in a state to be changed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
