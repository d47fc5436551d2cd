//! The hand-over from the DRA driver to the CNI plugin: one file for each pod, with the devices of its prepared claims.
//!
//! The DRA driver writes `/var/lib/cni/sriov/claims/<podUID>.json` before the pod's sandbox exists, and removes a claim's devices when the claim is unprepared.
//! The CNI plugin reads the file of `K8S_POD_UID` when its configuration has no device; the device plugin reads all files, and never grants a device that is listed there.
//! Start at [`ClaimStore`].

mod error;
mod store;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sriov_host::{IfName, PciAddress};

pub use self::error::ClaimsError;
pub use self::store::ClaimStore;
pub use crate::uid::{InvalidPodUid, PodUid};

/// Version of the format; a reader refuses files of later versions and ignores unknown keys.
pub const FORMAT: u32 = 1;

/// The devices of all prepared claims of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodClaims {
    /// Name of the DRA driver that wrote the file, for instance `sriov.virtfn.dev`.
    pub driver: String,
    /// The pod for which the claims are reserved.
    pub pod: PodRef,
    /// The devices, in the order of preparation: claims one after the other, each in the order of its allocation.
    pub devices: Vec<ClaimDevice>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, as the runtime passes it in `K8S_POD_UID`.
    pub uid: PodUid,
}

/// A device of a prepared claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimDevice {
    /// The claim.
    pub claim: ClaimRef,
    /// Name of the request in the claim, without the name of a sub-request.
    pub request: String,
    /// Pool of the device in the resource slices: the node's name.
    pub pool: String,
    /// Name of the device in its resource slice.
    pub device: String,
    /// Its PCI address.
    pub pci_address: PciAddress,
    /// The resource whose pool it is in, with the prefix.
    pub resource: String,
    /// The network that the claim wishes the device for; absent when the claim names none.
    pub network: Option<NetworkRef>,
    /// The interface name that the claim wishes; absent when the claim names none. Multus may pass another one.
    pub ifname: Option<IfName>,
    /// The driver that the claim has bound to the device instead of the device's own; absent when it has bound none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebound: Option<Rebound>,
    /// The KEP-5304 metadata file of the request on the host; absent when the driver writes none.
    /// The CNI plugin adds the network data to the device's entry before ADD returns.
    pub metadata: Option<PathBuf>,
}

/// A driver that a claim has bound to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebound {
    /// The driver that the device had before, and gets back; absent when it had none.
    pub own: Option<String>,
    /// The driver that is bound while the claim is prepared, for instance `vfio-pci`.
    pub bound: String,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimRef {
    /// Its namespace, which is that of the pod.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a recreated claim has another.
    pub uid: String,
}

/// A `NetworkAttachmentDefinition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRef {
    /// Its namespace; the driver has put that of the claim where the parameters name none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

#[cfg(test)]
mod tests;
