//! The metadata file of a request (KEP-5304), which programs in the pod read. Pure.
//!
//! The file is a stream of JSON objects, one for each version of the format, the newest first. The CNI plugin adds the network data.

use serde_json::{Value, json};

use crate::settings::DriverName;
use crate::state::{ClaimState, DeviceState};

/// The versions of the format, the newest first; they have the same fields.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Where containers find the files.
const IN_CONTAINER: &str = "/var/run/kubernetes.io/dra-device-attributes";

/// Path of the file of a request in a container: by the name of the claim, or by the pod's name for a claim that was made from a template.
pub(super) fn container_path(driver: &DriverName, state: &ClaimState, request: &str) -> String {
    let (kind, name) = match &state.pod_claim_name {
        Some(name) => ("resourceclaimtemplates", name),
        None => ("resourceclaims", &state.claim.name),
    };
    format!("{IN_CONTAINER}/{kind}/{name}/{request}/{driver}-metadata.json")
}

/// The content of the file of a request.
pub(super) fn content(driver: &DriverName, state: &ClaimState, request: &str) -> String {
    let of_request = state
        .devices
        .iter()
        .filter(|device| device.request == request);
    let devices: Vec<Value> = of_request.map(|of| device(driver, of)).collect();
    let versions = VERSIONS.map(|version| {
        let mut object = json!({
            "apiVersion": format!("metadata.resource.k8s.io/{version}"),
            "kind": "DeviceMetadata",
            "metadata": {
                "name": state.claim.name,
                "namespace": state.claim.namespace,
                "uid": state.claim.uid,
                "generation": 1,
            },
            "requests": [{ "name": request, "devices": devices }],
        });
        if let (Some(name), Some(fields)) = (&state.pod_claim_name, object.as_object_mut()) {
            fields.insert("podClaimName".to_owned(), json!(name));
        }
        format!("{object}\n")
    });
    versions.concat()
}

fn device(driver: &DriverName, device: &DeviceState) -> Value {
    json!({
        "driver": driver.as_str(),
        "pool": device.pool,
        "name": device.name,
        "attributes": {
            "resource.kubernetes.io/pciBusID": { "string": device.id },
            "k8s.cni.cncf.io/deviceID": { "string": device.id },
            "k8s.cni.cncf.io/resourceName": { "string": device.resource },
        },
    })
}
