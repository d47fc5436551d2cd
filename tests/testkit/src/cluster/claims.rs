//! Specifications of device classes, claims and pods for the DRA driver, and what it publishes.

use anyhow::Result;
use serde_json::{Value, json};

use super::Cluster;

/// The name of the driver.
pub const DRIVER: &str = "sriov.virtfn.dev";
const GROUP: &str = "resource.k8s.io/v1";
const SLICES: &str =
    "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.driver%3Dsriov.virtfn.dev";

/// A request for devices of a class.
pub fn request(name: &str, class: &str, count: u8) -> Value {
    json!({ "name": name, "exactly": { "deviceClassName": class, "allocationMode": "ExactCount", "count": count } })
}

/// Parameters of the driver for requests of a claim.
pub fn parameters(requests: &[&str], fields: &Value) -> Value {
    let mut parameters = json!({ "apiVersion": format!("{DRIVER}/v1alpha1"), "kind": "VfConfig" });
    if let (Some(all), Value::Object(more)) = (parameters.as_object_mut(), fields) {
        all.extend(more.clone());
    }
    json!({ "requests": requests, "opaque": { "driver": DRIVER, "parameters": parameters } })
}

/// A template of claims; `devices` has requests, and possibly constraints and configuration.
pub fn template(name: &str, devices: &Value) -> Value {
    json!({
        "apiVersion": GROUP,
        "kind": "ResourceClaimTemplate",
        "metadata": { "name": name },
        "spec": { "spec": { "devices": devices } },
    })
}

/// A pod whose container uses claims of these templates, placed by the scheduler; each claim has the name of its template.
pub fn claiming(name: &str, networks: &Value, templates: &[&str]) -> Value {
    let mut pod = super::workload::pod(name, networks, &json!({}));
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("nodeName");
        // No controller removes the taints of a new node here.
        spec.insert("tolerations".to_owned(), json!([{ "operator": "Exists" }]));
        let claim = |name: &&str| json!({ "name": name, "resourceClaimTemplateName": name });
        let claims: Vec<Value> = templates.iter().map(claim).collect();
        spec.insert("resourceClaims".to_owned(), json!(claims));
        let used: Vec<Value> = templates
            .iter()
            .map(|name| json!({ "name": name }))
            .collect();
        if let Some(container) = spec.get_mut("containers").and_then(|all| all.get_mut(0)) {
            container["resources"] = json!({ "claims": used });
        }
    }
    pod
}

impl Cluster {
    /// The slices of the driver, by name.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn slices(&self) -> Result<Vec<Value>> {
        let list = self.api.get(SLICES)?;
        let items = list.get("items").and_then(Value::as_array);
        Ok(items.cloned().unwrap_or_default())
    }

    /// The devices that the driver publishes.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn devices(&self) -> Result<Vec<Value>> {
        let devices = |slice: &Value| slice.pointer("/spec/devices")?.as_array().cloned();
        Ok(self
            .slices()?
            .iter()
            .filter_map(devices)
            .flatten()
            .collect())
    }

    /// The names of the published devices of a resource, without those that have a taint.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn offered_devices(&self, resource: &str) -> Result<Vec<String>> {
        let is_offered = |device: &&Value| {
            let name = device.pointer("/attributes/k8s.cni.cncf.io~1resourceName/string");
            let taints = device.get("taints").and_then(Value::as_array);
            name == Some(&json!(resource)) && taints.is_none_or(Vec::is_empty)
        };
        let name = |device: &Value| Some(device.get("name")?.as_str()?.to_owned());
        let devices = self.devices()?;
        Ok(devices.iter().filter(is_offered).filter_map(name).collect())
    }
}
