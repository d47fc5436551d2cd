//! Why a claim cannot be prepared, as far as its object shows it.

use sriov_config::Mistakes;
use sriov_device_info::claims::InvalidPodUid;
use sriov_host::IfName;

/// A claim that cannot be prepared; the text is an event of the pod.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("the claim was deleted and created again, it has the UID `{found}` now")]
    Recreated { found: String },
    #[error("no device is allocated to the claim")]
    NotAllocated,
    #[error("the claim is not reserved for a pod")]
    NotReserved,
    #[error("the claim is reserved for `{consumer}`, which is not a pod")]
    NoPod { consumer: String },
    #[error(
        "the claim is reserved for several pods ({pods}), and a VF is attached to one pod: use a claim template, which makes a claim for each pod"
    )]
    Shared { pods: String },
    #[error("the UID of the pod is unusable")]
    PodUid(#[source] InvalidPodUid),
    #[error("no device of this driver is allocated to the claim")]
    NoDevice,
    #[error("device `{device}` is of the pool `{pool}`, which is not this node's")]
    OtherPool { device: String, pool: String },
    #[error("device `{device}` is allocated with admin access, which this driver does not support")]
    AdminAccess { device: String },
    #[error("a share of device `{device}` is allocated, and this driver allocates whole devices")]
    ShareOfDevice { device: String },
    #[error(
        "two devices of the claim have the interface name `{0}`: give each request a configuration of its own"
    )]
    SameIfName(IfName),
    #[error("the parameters have mistakes")]
    Parameters(#[source] Mistakes),
}
