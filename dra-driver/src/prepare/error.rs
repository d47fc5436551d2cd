//! Why a claim could not be prepared or unprepared. The kubelet shows the text as an event of the pod.

use std::io;
use std::path::PathBuf;

use sriov_device_info::StoreError;
use sriov_device_info::claims::ClaimsError;
use sriov_host::PciAddress;
use sriov_host::driver::DriverError;
use sriov_inventory::unhealthy::Unhealthy;
use sriov_node::grant::GrantError;

use crate::claim::ClaimError;
use crate::state::StateError;

/// A claim could not be prepared; nothing is left behind, unless the text names it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("the claim `{0}` does not exist")]
    NoClaim(String),
    /// The API server did not answer.
    #[error("cannot read the claim")]
    Api(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// All refusals of all devices.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refusal>),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    HandOver(#[from] ClaimsError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(
        "device `{device}` is in no pool of this driver now, and was not prepared completely before"
    )]
    NoPool { device: String },
    #[error(transparent)]
    DeviceInfo(#[from] StoreError),
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the claim could not be prepared, and what was done could not be undone ({undo}): the next call goes on"
    )]
    NotUndone {
        undo: String,
        source: Box<PrepareError>,
    },
    #[error("the call ended early")]
    Ended(#[source] tokio::task::JoinError),
}

/// Why a device of a new claim cannot be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("device `{0}` is in no pool that this driver publishes")]
    Unknown(String),
    #[error("device `{device}`: {reason}")]
    Unhealthy { device: String, reason: Unhealthy },
    #[error("device `{device}` is held by {holder}")]
    Held { device: String, holder: String },
    #[error(
        "device `{device}` is attached to a container, as the CNI plugin's journal shows, and no claim of this driver has it"
    )]
    Attached { device: String },
    #[error(
        "device `{device}` is not a PCI function, and the claim wishes the driver `{driver}` for it"
    )]
    NoFunction { device: String, driver: String },
    #[error(
        "device `{device}` has the driver `{driver}`, and the claim wishes the driver of a network device, which this driver does not bind"
    )]
    NoNetworkDriver { device: String, driver: String },
}

/// A claim could not be unprepared; the kubelet tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnprepareError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    HandOver(#[from] ClaimsError),
    #[error(transparent)]
    DeviceInfo(#[from] StoreError),
    #[error("cannot read the CNI plugin's journal of VF {device}")]
    Journal {
        device: PciAddress,
        source: io::Error,
    },
    /// An attachment that the CNI plugin could not undo.
    #[error("VF {device} is still attached to container `{container}` as `{ifname}`")]
    Attached {
        device: PciAddress,
        container: String,
        ifname: String,
        source: CniError,
    },
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("cannot remove `{}`", path.display())]
    Remove { path: PathBuf, source: io::Error },
    /// Several devices, each with its own reason.
    #[error("{}", .0.join("; "))]
    Several(Vec<String>),
    #[error("the call ended early")]
    Ended(#[source] tokio::task::JoinError),
}

/// The CNI plugin did not detach a VF.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CniError {
    #[error("cannot run the CNI plugin `{}`", path.display())]
    Run { path: PathBuf, source: io::Error },
    #[error("the CNI plugin has not finished within {0} s")]
    Overdue(u64),
    /// Its error message.
    #[error("the CNI plugin failed: {0}")]
    Failed(String),
    #[error("the CNI plugin succeeded, and its journal still has the VF")]
    StillThere,
}
