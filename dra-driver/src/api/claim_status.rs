//! Applies the status of claims: server-side apply replaces the entries of this driver, and nobody else's.

use k8s_openapi::api::resource::v1::{AllocatedDeviceStatus, NetworkDeviceData, ResourceClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sriov_device_info::claims::ClaimRef;

use super::client::ApiServer;
use super::error::ApiError;
use crate::settings::DriverName;
use crate::status::{Condition, DeviceStatus, Network};

/// A device with the time since when each of its conditions holds.
pub(crate) type Timed<'a> = (&'a DeviceStatus, Vec<Time>);

impl ApiServer {
    /// Applies the status of all devices of this driver in a claim.
    ///
    /// # Errors
    /// When the server does not answer or refuses: 404 when the claim is gone, 409 when another claim has its name.
    pub(crate) async fn apply_status(
        &self,
        driver: &DriverName,
        claim: &ClaimRef,
        devices: &[Timed<'_>],
    ) -> Result<(), ApiError> {
        let claims: Api<ResourceClaim> = Api::namespaced(self.client(), &claim.namespace);
        let action = format!(
            "apply the status of the claim `{}/{}`",
            claim.namespace, claim.name
        );
        let body = body(driver, claim, devices);
        let params = PatchParams::apply(driver.as_str()).force();
        let patch = Patch::Apply(&body);
        let applied = claims.patch_status(&claim.name, &params, &patch);
        self.answer(&action, applied).await.map(drop)
    }
}

fn body(driver: &DriverName, claim: &ClaimRef, devices: &[Timed<'_>]) -> Value {
    let devices = devices
        .iter()
        .map(|(device, since)| entry(driver, device, since));
    let devices: Vec<AllocatedDeviceStatus> = devices.collect();
    json!({
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": claim.name, "namespace": claim.namespace, "uid": claim.uid},
        "status": {"devices": devices},
    })
}

fn entry(driver: &DriverName, device: &DeviceStatus, since: &[Time]) -> AllocatedDeviceStatus {
    let conditions = device.conditions.iter().zip(since);
    AllocatedDeviceStatus {
        driver: driver.to_string(),
        pool: device.pool.clone(),
        device: device.device.clone(),
        conditions: Some(
            conditions
                .map(|(one, since)| condition(one, since))
                .collect(),
        ),
        network_data: device.network.as_ref().map(network_data),
        ..AllocatedDeviceStatus::default()
    }
}

fn condition(condition: &Condition, since: &Time) -> ApiCondition {
    ApiCondition {
        type_: condition.kind.to_owned(),
        status: if condition.is_true { "True" } else { "False" }.to_owned(),
        reason: condition.reason.to_owned(),
        message: condition.message.to_owned(),
        last_transition_time: since.clone(),
        observed_generation: None,
    }
}

fn network_data(network: &Network) -> NetworkDeviceData {
    NetworkDeviceData {
        interface_name: Some(network.interface.clone()),
        hardware_address: network.hardware_address.clone(),
        ips: (!network.addresses.is_empty()).then(|| network.addresses.clone()),
    }
}
