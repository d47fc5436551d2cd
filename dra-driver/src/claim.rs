//! An allocated claim as far as it is ours: its devices with their merged parameters. Pure: from the object of the API server, without a look at the node.

mod config;
mod error;

use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, ResourceClaim, ResourceClaimStatus,
};
use sriov_config::vf_config::{Accepted, VfConfig};
use sriov_device_info::claims::{ClaimRef, PodRef};

use self::config::Configs;
pub(crate) use self::error::ClaimError;
use crate::settings::{DriverName, NodeName};

/// The annotation of a claim that the scheduler made for extended resources of a pod (KEP-5004).
const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// The annotation of a claim that was made from a template, with the name that the pod has for it.
const POD_CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";

/// A claim with devices of this driver and node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllocatedClaim {
    pub(crate) claim: ClaimRef,
    /// The pod for which the claim is reserved.
    pub(crate) pod: PodRef,
    /// The pod's name for a claim that was made from a template.
    pub(crate) pod_claim_name: Option<String>,
    /// Whether the scheduler made it for extended resources: each request is of one container.
    pub(crate) is_extended: bool,
    /// Our devices, in the order of the allocation; there is at least one.
    pub(crate) devices: Vec<AllocatedDevice>,
}

/// A device of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllocatedDevice {
    /// The request, without the name of a sub-request.
    pub(crate) request: String,
    /// Name of the device in its slice.
    pub(crate) device: String,
    /// The wishes of the class, overridden by those of the claim.
    pub(crate) config: VfConfig,
}

/// Reads what the scheduler allocated to a claim.
///
/// # Errors
/// When the claim is another one than the kubelet means, is not allocated to one pod on this node, or has mistakes in its parameters.
pub(crate) fn read(
    object: &ResourceClaim,
    meant: &ClaimRef,
    driver: &DriverName,
    node: &NodeName,
    accepted: Accepted,
) -> Result<AllocatedClaim, ClaimError> {
    let found = object.metadata.uid.clone().unwrap_or_default();
    if found != meant.uid {
        return Err(ClaimError::Recreated { found });
    }
    let status = object.status.clone().unwrap_or_default();
    let pod = pod(&status, meant)?;
    let allocated = status.allocation.and_then(|allocation| allocation.devices);
    let allocated = allocated.ok_or(ClaimError::NotAllocated)?;
    let results = allocated.results.unwrap_or_default();
    let ours: Vec<_> = results
        .iter()
        .filter(|result| result.driver == driver.as_str())
        .collect();
    if ours.is_empty() {
        return Err(ClaimError::NoDevice);
    }
    for result in &ours {
        ensure_usual(result, node)?;
    }
    let configs = Configs::read(&allocated.config.unwrap_or_default(), driver, accepted);
    let configs = configs.map_err(ClaimError::Parameters)?;
    let devices = ours.iter().map(|result| AllocatedDevice {
        request: request_of(&result.request).to_owned(),
        device: result.device.clone(),
        config: configs.of(&result.request),
    });
    let devices: Vec<_> = devices.collect();
    ensure_names_differ(&devices)?;
    let annotation = |key: &str| object.metadata.annotations.as_ref()?.get(key).cloned();
    Ok(AllocatedClaim {
        claim: meant.clone(),
        pod,
        pod_claim_name: annotation(POD_CLAIM_NAME),
        is_extended: annotation(EXTENDED).as_deref() == Some("true"),
        devices,
    })
}

/// The one pod that may use the claim: a VF is attached to one pod.
fn pod(status: &ResourceClaimStatus, claim: &ClaimRef) -> Result<PodRef, ClaimError> {
    let reserved = status.reserved_for.as_deref().unwrap_or_default();
    match reserved {
        [] => Err(ClaimError::NotReserved),
        [one]
            if one.resource == "pods"
                && one.api_group.as_deref().unwrap_or_default().is_empty() =>
        {
            Ok(PodRef {
                namespace: claim.namespace.clone(),
                name: one.name.clone(),
                uid: one.uid.parse().map_err(ClaimError::PodUid)?,
            })
        }
        [one] => Err(ClaimError::NoPod {
            consumer: format!("{} {}", one.resource, one.name),
        }),
        several => {
            let names = several.iter().map(|one| one.name.as_str());
            Err(ClaimError::Shared {
                pods: names.collect::<Vec<_>>().join(", "),
            })
        }
    }
}

/// Refuses devices of other nodes, and kinds of allocation that a VF does not have.
fn ensure_usual(result: &DeviceRequestAllocationResult, node: &NodeName) -> Result<(), ClaimError> {
    let device = || result.device.clone();
    if result.pool != node.as_str() {
        return Err(ClaimError::OtherPool {
            device: device(),
            pool: result.pool.clone(),
        });
    }
    if result.admin_access == Some(true) {
        return Err(ClaimError::AdminAccess { device: device() });
    }
    if result.share_id.is_some() {
        return Err(ClaimError::ShareOfDevice { device: device() });
    }
    Ok(())
}

/// Two interfaces of a pod cannot have one name.
fn ensure_names_differ(devices: &[AllocatedDevice]) -> Result<(), ClaimError> {
    let mut seen = Vec::new();
    for name in devices
        .iter()
        .filter_map(|device| device.config.if_name.as_ref())
    {
        if seen.contains(&name) {
            return Err(ClaimError::SameIfName(name.clone()));
        }
        seen.push(name);
    }
    Ok(())
}

/// The name of a request in the results of an allocation, without the name of a sub-request.
fn request_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(request, _)| request)
}

#[cfg(test)]
mod tests;
