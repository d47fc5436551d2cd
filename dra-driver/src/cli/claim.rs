//! `explain-claim`: which devices of this driver a claim got, from which pool, and for which pods.

use std::fmt::Write;

use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};

use super::args::ClaimName;
use crate::api::client::{ApiServer, NoApiServer};
use crate::api::error::ApiError;
use crate::settings::{DriverName, Settings};

/// The claim cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error(transparent)]
    NoApiServer(#[from] NoApiServer),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("there is no claim `{namespace}/{name}`")]
    NoClaim { namespace: String, name: String },
}

/// Reads a claim and describes it.
///
/// # Errors
/// When it does not exist, or the API server does not answer.
pub(crate) async fn explain(
    settings: &Settings,
    claim: &ClaimName,
) -> Result<String, ExplainError> {
    let api = ApiServer::configured(settings.kubeconfig.as_deref()).await?;
    let ClaimName { namespace, name } = claim;
    let found = api.claim(namespace, name).await?;
    let found = found.ok_or_else(|| ExplainError::NoClaim {
        namespace: namespace.clone(),
        name: name.clone(),
    })?;
    Ok(describe(&found, &settings.driver))
}

/// One line for the claim, then one for each device and each pod.
fn describe(claim: &ResourceClaim, driver: &DriverName) -> String {
    let named = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &claim.metadata;
    let mut text = format!(
        "claim {}/{}, uid {}\n",
        named(&meta.namespace),
        named(&meta.name),
        named(&meta.uid)
    );
    let status = claim.status.as_ref();
    let devices = status.and_then(|status| status.allocation.as_ref()?.devices.as_ref());
    let results = devices.and_then(|devices| devices.results.as_deref());
    let Some(results) = results else {
        text += "  not allocated: the scheduler has not chosen devices for it\n";
        return text;
    };
    let is_ours = |result: &&DeviceRequestAllocationResult| result.driver == driver.as_str();
    for result in results.iter().filter(is_ours) {
        let (device, pool, request) = (&result.device, &result.pool, &result.request);
        let _ = writeln!(text, "  {device} of pool {pool}, for request {request}");
    }
    let others = results.iter().filter(|result| !is_ours(result)).count();
    if others > 0 {
        let _ = writeln!(text, "  {others} devices of other drivers");
    }
    let pods = status.and_then(|status| status.reserved_for.as_deref());
    for pod in pods.unwrap_or_default() {
        let _ = writeln!(text, "  reserved for {} {}", pod.resource, pod.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(status: &serde_json::Value, expected: &str) {
        let claim = json!({
            "metadata": {"namespace": "ns", "name": "c", "uid": "u"},
            "spec": {},
            "status": status,
        });
        let claim: ResourceClaim = serde_json::from_value(claim).unwrap();
        let driver = crate::settings::DRIVER.parse().unwrap();
        assert_eq!(describe(&claim, &driver), expected);
    }

    #[test]
    fn allocation_and_pods_are_described() {
        let device = |driver: &str| json!({"driver": driver, "pool": "n1", "device": "0000-01-10-0", "request": "vf"});
        let status = json!({
            "allocation": {"devices": {"results": [device("sriov.virtfn.dev"), device("gpu.x")]}},
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u2"}],
        });
        let expected = "claim ns/c, uid u\n  0000-01-10-0 of pool n1, for request vf\n  1 devices of other drivers\n  reserved for pods p\n";
        check(&status, expected);
        let expected =
            "claim ns/c, uid u\n  not allocated: the scheduler has not chosen devices for it\n";
        check(&json!({}), expected);
    }
}
