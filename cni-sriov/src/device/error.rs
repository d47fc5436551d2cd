//! Why a device cannot be attached, or not be read.

use std::io;
use std::path::PathBuf;

use sriov_device_info::StoreError;
use sriov_device_info::claims::ClaimsError;
use sriov_host::PciAddress;
use sriov_host::ifname::InvalidIfName;
use sriov_host::netlink::NetlinkError;
use sriov_host::sysfs::ScanError;

use super::claims::ClaimMismatch;
use crate::model::Driver;

/// A device that cannot be attached, or not be read; each reason is a sentence of its own.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Nothing names a device.
    #[error(
        "no device: the configuration has neither deviceID nor a CNIDeviceInfoFile, and the pod has no prepared claim; does the network's resourceName match the resource that the pod requests?"
    )]
    Unnamed,
    /// Two sources name different devices.
    #[error("deviceID is `{named}`, the device-info file names `{in_file}`")]
    Disagree {
        /// Address in the configuration.
        named: PciAddress,
        /// Address in the file.
        in_file: PciAddress,
    },
    /// The device-info file names no PCI function.
    #[error("the device-info file names no PCI function")]
    NotPci,
    /// There is no such device.
    #[error("there is no PCI device `{0}`")]
    Missing(PciAddress),
    /// The device is a PF.
    #[error("`{0}` is a PF, not a VF")]
    IsPf(PciAddress),
    /// The device is neither PF nor VF.
    #[error("`{0}` is not a VF")]
    NotVf(PciAddress),
    /// The device is a VF, and its PF is not on this machine.
    #[error(
        "`{0}` is a VF whose PF is not on this machine, as in a virtual machine: this plugin configures VFs through their PF, use the CNI plugin `host-device` instead"
    )]
    WithoutPf(PciAddress),
    /// The VF has several network devices, and a pod gets one.
    #[error("the VF `{vf}` has the network devices {names}, this plugin attaches VFs with one")]
    SeveralNetdevs {
        /// The VF.
        vf: PciAddress,
        /// Names of the network devices.
        names: String,
    },
    /// The PF has several ports, and nothing shows which of them is the VF's.
    #[error(
        "the PF `{pf}` has several ports ({names}): it is not known through which of them the VF `{vf}` is configured; only a configuration without settings of the PF works"
    )]
    SeveralPorts {
        /// The PF.
        pf: PciAddress,
        /// The VF.
        vf: PciAddress,
        /// Names of the network devices of the ports.
        names: String,
    },
    /// The driver of the PF cannot describe the VF now.
    #[error("the PF `{pf}` does not describe the VF `{vf}` now: its driver is busy with it")]
    Busy {
        /// The VF.
        vf: PciAddress,
        /// The PF.
        pf: PciAddress,
    },
    /// The VF was created again while the call worked on it.
    #[error("the VF `{0}` was removed and created again during the call")]
    Replaced(PciAddress),
    /// The PF is gone or does not list the VF.
    #[error("the PF `{pf}` does not list the VF `{vf}`")]
    NotListed {
        /// The VF.
        vf: PciAddress,
        /// The PF.
        pf: PciAddress,
    },
    /// The PF has no network device on the host.
    #[error(
        "the PF `{0}` has no network device on the host: it was moved to another network namespace, or its driver creates none"
    )]
    PfWithoutNetdev(PciAddress),
    /// The PF is down.
    #[error("the PF `{pf}` (`{name}`) is down: set it up, its VFs have no link")]
    PfDown {
        /// The PF.
        pf: PciAddress,
        /// Its network device.
        name: String,
    },
    /// The PF is in switchdev mode.
    #[error(
        "the PF `{0}` is in switchdev mode: its VFs are configured through their representors, not by this plugin"
    )]
    Switchdev(PciAddress),
    /// No driver is bound.
    #[error("no driver is bound to the VF `{0}`")]
    NoDriver(PciAddress),
    /// The network device of the VF is not on the host.
    #[error(
        "the network device of the VF `{0}` (driver {1}) is not on the host: it is in another network namespace, or its driver creates none"
    )]
    Away(PciAddress, Driver),
    /// The network device of the VF has a name that it could not get back.
    #[error("the network device of the VF `{device}` has an unusable name")]
    Name {
        /// The VF.
        device: PciAddress,
        /// The rule that the name breaks.
        source: InvalidIfName,
    },
    /// A key of the configuration does not apply to this kind of VF.
    #[error("{key}: the VF `{vf}` {kind}, which has no such setting")]
    NotOfKind {
        /// Key of the configuration.
        key: &'static str,
        /// The VF.
        vf: PciAddress,
        /// Kind of the VF, as a predicate.
        kind: &'static str,
    },
    /// Several reasons.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<DeviceError>),
    /// The pod's claims have no device for this attachment.
    #[error(transparent)]
    Claim(#[from] ClaimMismatch),
    /// The hand-over of the pod's claims could not be read.
    #[error("the devices of the pod's claims are not known")]
    Claims(#[from] ClaimsError),
    /// The metadata file of a claim could not be completed.
    #[error("cannot add the network data to `{}`", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A device-info file could not be read or written.
    #[error(transparent)]
    InfoFile(#[from] StoreError),
    /// An attribute in sysfs could not be read.
    #[error(transparent)]
    Sysfs(#[from] ScanError),
    /// The list of PCI devices cannot be read.
    #[error("cannot list `{}`: is sysfs mounted?", path.display())]
    NoSysfs {
        /// The directory.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// The kernel refused to report the VF or its PF.
    #[error("cannot read the VF `{device}` or its PF by netlink")]
    Netlink {
        /// The VF.
        device: PciAddress,
        /// The request and its answer.
        source: NetlinkError,
    },
}
