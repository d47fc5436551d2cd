//! The DRA driver as a process of the node, with the token of its service account.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Cluster, Service, last_lines, wait_for};

const KUBECONFIG: &str = "/run/virtfn/dra.kubeconfig";
/// The log line of a registration.
const REGISTERED: &str = "registered with the kubelet";
/// The kubelet's, which names the API server and its certificate.
const KUBELETS: &str = "/etc/kubernetes/kubelet.kubeconfig";

impl Cluster {
    /// Creates the objects that the driver needs, from the rendered manifests: all but the workloads, which the lab runs as a process.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub fn permit_driver(&self, manifests: &[Value]) -> Result<()> {
        for object in manifests {
            let kind = object.get("kind").and_then(Value::as_str);
            if !matches!(
                kind,
                Some("DaemonSet" | "ConfigMap" | "NetworkAttachmentDefinition")
            ) {
                self.api.replace(object)?;
            }
        }
        Ok(())
    }

    /// A token of a service account, bound to a node like that of a pod on the node.
    ///
    /// # Errors
    /// If the account or the node does not exist.
    pub fn token(&self, account: &str, node: &str) -> Result<String> {
        let object = self.api.get(&format!("/api/v1/nodes/{node}"))?;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": 7200,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": node,
                    "uid": object.pointer("/metadata/uid"),
                },
            },
        });
        let path = format!("/api/v1/namespaces/kube-system/serviceaccounts/{account}/token");
        let answer = self.api.post(&path, &request)?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.context("the answer has no token")?.to_owned())
    }

    /// Starts the driver unless it runs, with the resource list that [`Cluster::offer`] wrote.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_driver(&self, account: &str) -> Result<()> {
        self.identify_driver(account)?;
        Service::DraDriver.ensure_started()
    }

    /// Gives the driver a token of its account, unless it has one.
    ///
    /// # Errors
    /// The same as for [`Cluster::write_kubeconfig`].
    pub fn identify_driver(&self, account: &str) -> Result<()> {
        let path = Path::new(KUBECONFIG);
        if path.exists() {
            return Ok(());
        }
        self.write_kubeconfig(path, account)
    }

    /// Starts the driver with more words on its command line unless it runs, and waits until the kubelet has registered it.
    ///
    /// The kubelet tries a claim again only after a minute.
    ///
    /// # Errors
    /// If it does not start, or is not registered; with the end of its log.
    pub fn start_registered(&self, more: &[&str]) -> Result<()> {
        if Service::DraDriver.is_running() {
            return Ok(());
        }
        let registrations = || Service::DraDriver.log().matches(REGISTERED).count();
        let before = registrations();
        Service::DraDriver.start_with(more)?;
        wait_for("the driver is registered", || registrations() > before)
            .with_context(|| last_lines(&Service::DraDriver.log()))
    }

    /// Writes a file with the address of the API server and a token of a service account.
    ///
    /// # Errors
    /// If the account does not exist, or the kubelet has no such file.
    pub fn write_kubeconfig(&self, path: &Path, account: &str) -> Result<()> {
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(KUBELETS)?)?;
        let token = config.pointer_mut("/users/0/user/token");
        *token.context("no token to replace")? = json!(self.token(account, "node")?);
        Ok(std::fs::write(path, config.to_string())?)
    }

    /// Waits until the driver offers this number of devices of a resource.
    ///
    /// # Errors
    /// With the end of the driver's log, if it does not.
    pub fn wait_devices(&self, resource: &str, count: usize) -> Result<Vec<String>> {
        let mut last = Vec::new();
        wait_for(
            &format!("{count} devices of {resource} are offered"),
            || {
                last = self.offered_devices(resource).unwrap_or_default();
                last.len() == count
            },
        )
        .with_context(|| {
            format!(
                "offered: {last:?}\n{}",
                last_lines(&Service::DraDriver.log())
            )
        })?;
        Ok(last)
    }
}
