//! Objects of the API by their manifests: the path of each kind that suites create.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::api::Api;

/// Plural of a kind, and whether its objects are in a namespace.
fn plural(kind: &str) -> Option<(&'static str, bool)> {
    Some(match kind {
        "ClusterRole" => ("clusterroles", false),
        "ClusterRoleBinding" => ("clusterrolebindings", false),
        "ConfigMap" => ("configmaps", true),
        "DaemonSet" => ("daemonsets", true),
        "Deployment" => ("deployments", true),
        "DeviceClass" => ("deviceclasses", false),
        "Namespace" => ("namespaces", false),
        "Node" => ("nodes", false),
        "ResourceClaim" => ("resourceclaims", true),
        "ResourceClaimTemplate" => ("resourceclaimtemplates", true),
        "ResourceSlice" => ("resourceslices", false),
        "Role" => ("roles", true),
        "RoleBinding" => ("rolebindings", true),
        "ServiceAccount" => ("serviceaccounts", true),
        "ValidatingAdmissionPolicy" => ("validatingadmissionpolicies", false),
        "ValidatingAdmissionPolicyBinding" => ("validatingadmissionpolicybindings", false),
        _ => return None,
    })
}

/// The path of the collection of an object, and the path of the object.
///
/// # Errors
/// If no suite creates objects of this kind, or the object has no name.
pub fn paths(object: &Value) -> Result<(String, String)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let kind = text("/kind").context("an object without a kind")?;
    let version = text("/apiVersion").context("an object without a version")?;
    let Some((plural, is_in_namespace)) = plural(kind) else {
        bail!("no suite creates a {kind}");
    };
    let mut path = if version.contains('/') {
        format!("/apis/{version}")
    } else {
        format!("/api/{version}")
    };
    if is_in_namespace {
        path += "/namespaces/";
        path += text("/metadata/namespace").unwrap_or("default");
    }
    path += "/";
    path += plural;
    let name = text("/metadata/name").context("an object without a name")?;
    let own = format!("{path}/{name}");
    Ok((path, own))
}

impl Api {
    /// Creates an object; an existing one is deleted first.
    ///
    /// # Errors
    /// With the answer of the API server.
    pub fn replace(&self, object: &Value) -> Result<Value> {
        let (siblings, own) = paths(object)?;
        if !self.is_missing(&own) {
            self.delete(&own)?;
            super::wait_for(&format!("{own} is gone"), || self.is_missing(&own))?;
        }
        self.post(&siblings, object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn path_has_group_namespace_and_plural() {
        let object = |version: &str, kind: &str| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" } });
        let own = |version: &str, kind: &str| paths(&object(version, kind)).unwrap().1;
        assert_eq!(own("v1", "Node"), "/api/v1/nodes/x");
        assert_eq!(
            own("resource.k8s.io/v1", "ResourceClaim"),
            "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/x"
        );
        assert!(paths(&object("v1", "Secret")).is_err());
    }
}
