//! Specifications for the Kubernetes node: resource lists, networks and pods.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The example of a network on VLAN 100 with addresses, for `example.com/trading`.
pub const TRADING: &str = include_str!("../../../../deploy/examples/nad-vlan.yaml");
/// The example of a network on VLAN 200 without addresses, for `example.com/storage`.
pub const STORAGE: &str = include_str!("../../../../deploy/examples/nad-other-vlan.yaml");
/// The example's resource lists: VFs 0 to 3 of the first PF, all VFs of the second.
const CONFIG: &str = include_str!("../../../../deploy/examples/configmap.yaml");

/// The resource lists of the examples.
pub(super) fn example_config() -> Result<String> {
    let manifest: Value = serde_yaml_ng::from_str(CONFIG)?;
    let config = manifest
        .pointer("/data/config.json")
        .and_then(Value::as_str);
    Ok(config
        .context("the example has no configuration")?
        .to_owned())
}

/// A network attachment definition for a resource; adds name and type to `config`, and a version unless it has one.
pub fn network(name: &str, resource: &str, config: &Value) -> String {
    let mut config = config.clone();
    if let Value::Object(fields) = &mut config {
        let version = fields.entry("cniVersion");
        version.or_insert_with(|| json!("1.0.0"));
        fields.insert("name".to_owned(), json!(name));
        fields.insert("type".to_owned(), json!("sriov"));
    }
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": { "name": name, "annotations": { "k8s.v1.cni.cncf.io/resourceName": resource } },
        "spec": { "config": config.to_string() },
    })
    .to_string()
}

/// A pod with one container that sleeps; `resources` are its limits.
pub fn pod(name: &str, networks: &Value, resources: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": { "k8s.v1.cni.cncf.io/networks": networks.to_string() } },
        "spec": {
            "nodeName": "node",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "main",
                "image": "localhost/pod:1",
                "imagePullPolicy": "Never",
                "resources": { "limits": resources, "requests": resources },
            }],
        },
    })
}
