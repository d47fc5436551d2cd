//! The code of each failure: below 100 the codes of the CNI specification (section "Error"), from 100 our own (`docs/cni.md`).

use nix::errno::Errno;
use sriov_config::netconf::NetConfError;
use sriov_host::driver::DriverError;
use sriov_host::netlink::NetlinkError;

use super::error::Failure;
use crate::device::DeviceError;
use crate::ipam::IpamError;
use crate::journal::JournalError;
use crate::kernel::KernelError;
use crate::request::RequestError;
use crate::result::ResultError;

/// A version that the plugin does not speak, or that does not have the verb.
const VERSION: u32 = 1;
/// The pod's network namespace is gone.
const NO_CONTAINER: u32 = 3;
/// An environment variable is missing or invalid.
const ENVIRONMENT: u32 = 4;
/// Standard input or the start failed.
const IO: u32 = 5;
/// The configuration is not JSON.
const DECODE: u32 = 6;
/// The configuration, or the device that it names, cannot be used.
const CONFIG: u32 = 7;
/// `CNI_NETNS` is the host's own network namespace.
const HOST_NETNS: u32 = 8;
/// The same call may succeed later.
const TRY_AGAIN: u32 = 11;
/// STATUS: an ADD would fail.
const NOT_READY: u32 = 50;
/// The kernel refused.
const KERNEL: u32 = 100;
/// sysfs or a device-info file cannot be read.
const SYSFS: u32 = 101;
/// The saved state cannot be used, or the VF is held back.
const STATE: u32 = 102;
/// The IPAM plugin could not be run, or gave nothing usable.
const IPAM: u32 = 103;
/// CHECK: not attached, or drifted.
const CHECK: u32 = 104;
/// A mistake in this program.
const MISTAKE: u32 = 105;

impl Failure {
    /// The code of the failure; of several failures, the code of the first.
    pub fn code(&self) -> u32 {
        match self {
            Self::Stdin(_) | Self::Runtime(_) => IO,
            Self::Panic => MISTAKE,
            Self::Request(error) => of_request(error),
            Self::Device(error) => of_device(error),
            Self::Journal(error) => of_journal(error),
            Self::Ipam(error) => of_ipam(error),
            Self::Result(error) => of_result(error),
            Self::Kernel(error) => of_kernel(error),
            Self::Drifted(_) => CHECK,
            Self::NotReady(_) => NOT_READY,
            Self::Several(failures) => failures.first().map_or(KERNEL, Self::code),
        }
    }
}

fn of_request(error: &RequestError) -> u32 {
    match error {
        RequestError::NetConf(NetConfError::Version(_)) | RequestError::TooOld { .. } => VERSION,
        RequestError::Environment(_) => ENVIRONMENT,
        RequestError::NetConf(NetConfError::Decode(_)) => DECODE,
        RequestError::NetConf(NetConfError::Invalid(_)) => CONFIG,
    }
}

fn of_device(error: &DeviceError) -> u32 {
    match error {
        DeviceError::PfDown { .. } | DeviceError::Busy { .. } | DeviceError::Replaced(_) => {
            TRY_AGAIN
        }
        DeviceError::Unnamed
        | DeviceError::Claim(_)
        | DeviceError::Disagree { .. }
        | DeviceError::NotPci
        | DeviceError::Missing(_)
        | DeviceError::IsPf(_)
        | DeviceError::NotVf(_)
        | DeviceError::WithoutPf(_)
        | DeviceError::SeveralNetdevs { .. }
        | DeviceError::SeveralPorts { .. }
        | DeviceError::NotListed { .. }
        | DeviceError::PfWithoutNetdev(_)
        | DeviceError::Switchdev(_)
        | DeviceError::NoDriver(_)
        | DeviceError::Away(..)
        | DeviceError::Name { .. }
        | DeviceError::NotOfKind { .. }
        | DeviceError::Several(_) => CONFIG,
        DeviceError::Claims(_) => STATE,
        DeviceError::Metadata { .. }
        | DeviceError::InfoFile(_)
        | DeviceError::Sysfs(_)
        | DeviceError::NoSysfs { .. } => SYSFS,
        DeviceError::Netlink { source, .. } => of_netlink(source),
    }
}

fn of_journal(error: &JournalError) -> u32 {
    match error {
        JournalError::Read { .. }
        | JournalError::Write { .. }
        | JournalError::Content { .. }
        | JournalError::Later { .. } => STATE,
        JournalError::Locked(_) | JournalError::Busy { .. } | JournalError::BusyElsewhere(_) => {
            TRY_AGAIN
        }
        JournalError::NotAttached(_) => CHECK,
    }
}

fn of_ipam(error: &IpamError) -> u32 {
    match error {
        IpamError::Refused { code, .. } => code.unwrap_or(IPAM),
        IpamError::NotFound { .. } | IpamError::IsSelf { .. } => CONFIG,
        IpamError::Run { .. } | IpamError::Deadline { .. } | IpamError::Result { .. } => IPAM,
    }
}

fn of_result(error: &ResultError) -> u32 {
    match error {
        ResultError::Previous(_) | ResultError::NoPrevious | ResultError::Inexpressible(_) => {
            CONFIG
        }
        ResultError::Ipam(_) => IPAM,
    }
}

fn of_kernel(error: &KernelError) -> u32 {
    match error {
        KernelError::Netns(error) if error.is_gone() => NO_CONTAINER,
        KernelError::HostNetns(_) => HOST_NETNS,
        KernelError::NameTaken(_) | KernelError::Driver(DriverError::NoDriver { .. }) => CONFIG,
        KernelError::Setting { source, .. }
        | KernelError::Link { source, .. }
        | KernelError::PodLinks(source) => of_netlink(source),
        KernelError::Netns(_)
        | KernelError::NotKept { .. }
        | KernelError::NoLink(_)
        | KernelError::Open(_)
        | KernelError::Privilege(_) => KERNEL,
        KernelError::Postponed { .. } | KernelError::Driver(DriverError::InUse { .. }) => TRY_AGAIN,
        KernelError::Sysfs(_) | KernelError::Driver(_) => SYSFS,
        KernelError::Dirty { .. } => STATE,
        KernelError::Device(error) => of_device(error),
    }
}

fn of_netlink(error: &NetlinkError) -> u32 {
    match error.errno() {
        Some(Errno::EBUSY | Errno::EAGAIN) => TRY_AGAIN,
        Some(_) | None => KERNEL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_several_failures_is_the_first() {
        let device = "0000:01:10.0".parse().unwrap();
        let locked = || Failure::from(JournalError::Locked(device));
        let absent = || Failure::from(JournalError::NotAttached(device));
        assert_eq!(Failure::all(vec![locked()]).unwrap_err().code(), TRY_AGAIN);
        let several = Failure::all(vec![absent(), locked()]).unwrap_err();
        assert_eq!(several.code(), CHECK);
        assert!(Failure::all(vec![]).is_ok());
        let not_ready = Failure::NotReady(Box::new(several));
        assert_eq!(not_ready.code(), NOT_READY);
    }
}
