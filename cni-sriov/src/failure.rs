//! What a call can fail with, and the one place that turns it into a code of the CNI specification.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use serde_json::{Value, json};
use sriov_config::netconf::{CniVersion, NetConfError};
use sriov_device_info::StoreError;
use sriov_host::PciAddress;
use sriov_host::netlink::{NetlinkError, OpenError};
use sriov_host::netns::NetnsError;
use sriov_host::sysfs::ScanError;

use crate::check::Drift;
use crate::device::DeviceError;
use crate::ipam::IpamError;
use crate::journal::JournalError;
use crate::request::Verb;

/// A call that did not succeed; nothing it changed is left, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A `CNI_*` variable is missing or wrong.
    #[error("{0}")]
    Environment(String),
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// The runtime could not be made.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// The configuration is refused.
    #[error("{0}")]
    NetConf(NetConfError),
    /// The configuration's version does not have the verb.
    #[error(
        "{verb} is part of the CNI specification since {since}, the configuration's cniVersion is {version}"
    )]
    TooOld {
        /// The verb.
        verb: Verb,
        /// Its first version.
        since: CniVersion,
        /// That of the configuration.
        version: CniVersion,
    },
    /// A combination that cannot be.
    #[error("invalid network configuration: {0}")]
    Config(String),
    /// The device cannot be attached.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// The pod's namespace cannot be used.
    #[error("cannot use the network namespace of the pod")]
    Netns(#[source] NetnsError),
    /// The plugin's own namespace is the pod's.
    #[error("CNI_NETNS `{}` is the host's own network namespace", .0.display())]
    HostNetns(PathBuf),
    /// The pod has an interface of that name.
    #[error("the pod already has an interface `{0}`")]
    NameTaken(String),
    /// The VF belongs to another attachment.
    #[error("VF {device} is attached to container `{container_id}` as `{ifname}`")]
    Busy {
        /// The VF.
        device: PciAddress,
        /// Who has it.
        container_id: String,
        /// Under which name.
        ifname: String,
    },
    /// The VF belongs to an attachment of the Go plugin.
    #[error("VF {0} is attached by another plugin to a network namespace that lives")]
    BusyElsewhere(PciAddress),
    /// The VF is not attached as the caller thinks.
    #[error("VF {0} is not attached to this container under this name")]
    NotAttached(PciAddress),
    /// What was attached is not what is there.
    #[error("VF {device} drifted: {}", .drifts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Drifted {
        /// The VF.
        device: PciAddress,
        /// All that differs.
        drifts: Vec<Drift>,
    },
    /// An ADD would fail.
    #[error("not ready")]
    NotReady(#[source] Box<Failure>),
    /// The kernel does not let this process change links.
    #[error("cannot change links")]
    Privilege(#[source] NetlinkError),
    /// sysfs cannot be read.
    #[error("cannot list `{}`: is sysfs mounted?", path.display())]
    NoSysfs {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another call works on the VF.
    #[error("VF {0} is locked by another call")]
    Locked(PciAddress),
    /// The kernel refused a setting of the VF.
    #[error("{setting}: {driver} on {pf} refuses it for VF {vf}")]
    Setting {
        /// The setting, as in the configuration.
        setting: &'static str,
        /// Driver of the PF.
        driver: String,
        /// The PF.
        pf: PciAddress,
        /// Index of the VF.
        vf: u16,
        /// Why.
        source: NetlinkError,
    },
    /// A setting was accepted and is not what was asked for.
    #[error(
        "{setting}: {driver} on {pf} accepted it for VF {vf} and reports {found}, wanted {wanted}"
    )]
    NotKept {
        /// The setting, as in the configuration.
        setting: &'static str,
        /// What was asked for.
        wanted: String,
        /// What is reported.
        found: String,
        /// Driver of the PF.
        driver: String,
        /// The PF.
        pf: PciAddress,
        /// Index of the VF.
        vf: u16,
    },
    /// A change of the link was refused.
    #[error("cannot change the network device of VF {device}")]
    Link {
        /// The VF.
        device: PciAddress,
        /// Why.
        source: NetlinkError,
    },
    /// The network device is not where it should be.
    #[error("the network device of VF {0} is neither on the host nor in the pod")]
    NoLink(PciAddress),
    /// No netlink socket.
    #[error("{0}")]
    Open(#[source] OpenError),
    /// sysfs could not be read.
    #[error("{0}")]
    Sysfs(#[source] ScanError),
    /// The journal could not be used.
    #[error("{0}")]
    Journal(#[source] JournalError),
    /// A device-info file could not be read.
    #[error("{0}")]
    DeviceInfo(#[source] StoreError),
    /// The IPAM plugin failed.
    #[error("{0}")]
    Ipam(#[source] IpamError),
    /// The VF could not be brought back to what it was; it is kept back and retried.
    #[error("VF {device} is kept back, it is not what it was before: {what}")]
    Dirty {
        /// The VF.
        device: PciAddress,
        /// What differs.
        what: String,
    },
    /// Several things went wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Failure>),
}

impl Failure {
    /// Standard input could not be read.
    pub fn stdin(error: io::Error) -> Self {
        Self::Stdin(error)
    }

    /// The runtime could not be made.
    pub fn runtime(error: io::Error) -> Self {
        Self::Runtime(error)
    }

    /// One failure of several; nothing when there was none.
    pub fn all(mut failures: Vec<Self>) -> Result<(), Self> {
        match failures.pop() {
            None => Ok(()),
            Some(only) if failures.is_empty() => Err(only),
            Some(last) => {
                failures.push(last);
                Err(Self::Several(failures))
            }
        }
    }

    /// Whether a driver does not know a setting at all.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Setting { source, .. } if source.errno() == Some(Errno::EOPNOTSUPP))
    }

    /// This error and all that caused it, in one line.
    pub fn chain(&self) -> String {
        match self.details().as_str() {
            "" => self.to_string(),
            details => format!("{self}: {details}"),
        }
    }

    /// What caused it, without saying anything twice.
    fn details(&self) -> String {
        if let Self::Several(failures) = self {
            let details = failures.iter().map(Self::details);
            let details: Vec<String> = details.filter(|details| !details.is_empty()).collect();
            return details.join("; ");
        }
        if let Self::NotReady(failure) = self {
            return failure.chain();
        }
        let mut said = self.to_string();
        let mut details: Vec<String> = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // A variant that only passes its cause on has said it.
            if text != said {
                details.push(text.clone());
            }
            said = text;
            source = cause.source();
        }
        details.join(": ")
    }

    /// The code: below 100 those of the specification (section "Error"), from 100 our own (`docs/cni.md`).
    pub fn code(&self) -> u32 {
        let of_errno = |error: &NetlinkError| match error.errno() {
            Some(Errno::EBUSY | Errno::EAGAIN) => 11,
            Some(_) | None => 100,
        };
        match self {
            Self::NetConf(NetConfError::Version(_)) | Self::TooOld { .. } => 1,
            Self::Netns(error) if error.is_gone() => 3,
            Self::Environment(_) => 4,
            Self::Stdin(_) | Self::Runtime(_) => 5,
            Self::NetConf(NetConfError::Decode(_)) => 6,
            Self::Device(DeviceError::PfDown { .. })
            | Self::Busy { .. }
            | Self::BusyElsewhere(_)
            | Self::Locked(_) => 11,
            Self::NetConf(NetConfError::Invalid(_))
            | Self::Config(_)
            | Self::Device(_)
            | Self::NameTaken(_) => 7,
            Self::HostNetns(_) => 8,
            Self::NotReady(_) => 50,
            Self::Setting { source, .. } | Self::Link { source, .. } => of_errno(source),
            Self::Netns(_)
            | Self::NotKept { .. }
            | Self::NoLink(_)
            | Self::Open(_)
            | Self::Privilege(_) => 100,
            Self::Sysfs(_) | Self::NoSysfs { .. } | Self::DeviceInfo(_) => 101,
            Self::Journal(_) | Self::Dirty { .. } => 102,
            Self::Ipam(error) => error.code().unwrap_or(103),
            Self::NotAttached(_) | Self::Drifted { .. } => 104,
            Self::Several(failures) => failures.first().map_or(100, Self::code),
        }
    }

    /// The document for standard output.
    pub fn document(&self, stdin: &str) -> Value {
        let conf = serde_json::from_str::<Value>(stdin).ok();
        let version = conf
            .as_ref()
            .and_then(|conf| conf.get("cniVersion"))
            .and_then(Value::as_str);
        json!({
            "cniVersion": version.unwrap_or("1.1.0"),
            "code": self.code(),
            "msg": self.to_string(),
            "details": self.details(),
        })
    }
}
