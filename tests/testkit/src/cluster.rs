//! The Kubernetes node as its suites use it: services, pods, and their network namespaces. Only in the guest, as root.
//!
//! Start at [`Cluster::join`]. `api` calls the API server, `service` starts and kills programs, `pod` waits for states of a pod, `workload` and `claims` have the specifications, `driver` runs the DRA driver.

pub mod api;
pub mod claims;
mod driver;
pub mod objects;
mod patience;
mod pod;
mod service;
pub mod workload;

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::api::Api;
pub use self::patience::{last_lines, wait_for};
pub use self::pod::Pod;
pub use self::service::Service;
use crate::node::Pf;

/// The device plugin's configuration file.
const CONFIG: &str = "/run/virtfn/config.json";

/// The node in its cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: Api,
}

impl Cluster {
    /// Starts the programs that do not run yet, and waits until the node is ready and has the image of the suites' pods.
    ///
    /// # Errors
    /// The same as for [`Cluster::start_kubelet`].
    pub fn join() -> Result<Self> {
        let address = std::env::var("VIRTFN_API")
            .context("this suite runs on the lab's node: `cargo lab kubernetes`")?;
        let cluster = Self {
            api: Api::new(address),
        };
        Service::Containerd.ensure_started()?;
        wait_for("containerd answers", || ctr(&["images", "list"]).is_ok())?;
        if !ctr(&["images", "list", "--quiet"])?.contains("localhost/pod:1") {
            for image in std::fs::read_dir("/lab/images")? {
                ctr(&["images", "import", &image?.path().to_string_lossy()])?;
            }
        }
        cluster.start_kubelet()?;
        Ok(cluster)
    }

    /// Starts the kubelet unless it runs, and waits until it reports the node ready again: until then, the API server has the report of the previous kubelet.
    ///
    /// # Errors
    /// If the node does not become ready; with the end of the kubelet's log.
    pub fn start_kubelet(&self) -> Result<()> {
        if Service::Kubelet.is_running() {
            return Ok(());
        }
        let before = self.heartbeat_when_ready();
        Service::Kubelet.ensure_started()?;
        wait_for("the kubelet reports the node ready", || {
            let now = self.heartbeat_when_ready();
            now.is_some() && now != before
        })
        .with_context(|| last_lines(&Service::Kubelet.log()))
    }

    /// The time of the kubelet's last report that the node is ready.
    fn heartbeat_when_ready(&self) -> Option<Value> {
        let node = self.api.get("/api/v1/nodes/node").ok()?;
        let conditions = node.pointer("/status/conditions")?.as_array()?;
        let of_ready = |condition: &&Value| {
            condition.get("type") == Some(&json!("Ready"))
                && condition.get("status") == Some(&json!("True"))
        };
        let ready = conditions.iter().find(of_ready)?;
        ready.get("lastHeartbeatTime").cloned()
    }

    /// Starts the device plugin with the resource list of the examples; it keeps running for the next test of the suite.
    pub fn offer_examples(&self) -> Result<()> {
        self.offer(&workload::example_config()?)
    }

    /// The same, and creates the network of `example.com/trading`, a resource with VFs 0 to 3 of the first PF.
    pub fn offer_trading(&self) -> Result<()> {
        self.offer_examples()?;
        self.apply_network(workload::TRADING)?;
        self.wait_allocatable("example.com/trading", 4)
    }

    /// Starts the device plugin with a resource list; it keeps running for the next test of the suite.
    pub fn offer(&self, config: &str) -> Result<()> {
        let present = std::fs::read_to_string(CONFIG).unwrap_or_default();
        if Service::DevicePlugin.is_running() && present == config {
            return Ok(());
        }
        self.offer_nothing()?;
        std::fs::write(CONFIG, config)?;
        Service::DevicePlugin.ensure_started()
    }

    /// Kills the device plugin, and waits until the node offers no device: the API server lags behind the kubelet.
    pub fn offer_nothing(&self) -> Result<()> {
        if Service::DevicePlugin.is_running() {
            Service::DevicePlugin.kill()?;
        }
        wait_for("the node offers no device", || {
            let offered = self.offered().unwrap_or(Value::Null);
            offered.as_object().is_some_and(|all| {
                let mut devices = all.iter().filter(|(name, _)| name.contains("example.com/"));
                devices.all(|(_, count)| count == "0")
            })
        })
    }

    fn offered(&self) -> Result<Value> {
        let node = self.api.get("/api/v1/nodes/node")?;
        let offered = node.pointer("/status/allocatable").cloned();
        offered.context("the node has no allocatable resources")
    }

    /// Number of allocatable devices of a resource.
    pub fn allocatable(&self, resource: &str) -> Result<u64> {
        let offered = self.offered()?;
        let text = offered.get(resource).and_then(Value::as_str);
        Ok(text.unwrap_or("0").parse()?)
    }

    /// Waits until the node offers this number of devices.
    pub fn wait_allocatable(&self, resource: &str, count: u64) -> Result<()> {
        wait_for(&format!("the node offers {count} {resource}"), || {
            self.allocatable(resource).is_ok_and(|now| now == count)
        })
        .with_context(|| {
            format!(
                "log of the kubelet:\n{}\nlog of the device plugin:\n{}",
                last_lines(&Service::Kubelet.log()),
                last_lines(&Service::DevicePlugin.log())
            )
        })
    }

    /// Creates a network attachment definition from its manifest, or replaces the existing one.
    pub fn apply_network(&self, manifest: &str) -> Result<()> {
        let body: Value = serde_yaml_ng::from_str(manifest)?;
        let name = body
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .context("a network without a name")?;
        let path = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions";
        let _ = self.api.delete(&format!("{path}/{name}"));
        self.api.post(path, &body)?;
        Ok(())
    }

    /// Creates a pod; it is deleted when the result is dropped.
    pub fn pod(&self, spec: &Value) -> Result<Pod<'_>> {
        let text = |key: &str| {
            let value = spec.pointer(&format!("/metadata/{key}"));
            value.and_then(Value::as_str).map(str::to_owned)
        };
        let name = text("name").context("a pod without a name")?;
        Pod::new(&self.api, text("namespace"), name, spec)
    }

    /// An existing pod of the default namespace; it is deleted when the result is dropped.
    pub fn pod_there(&self, name: &str) -> Pod<'_> {
        Pod::there(&self.api, name)
    }

    /// Deletes pods at once and waits until all of them are gone.
    pub fn delete<'a>(&self, pods: impl IntoIterator<Item = Pod<'a>>) -> Result<()> {
        let pods: Vec<Pod<'_>> = pods.into_iter().collect();
        pods.iter().try_for_each(Pod::ask_to_go)?;
        pods.iter().try_for_each(Pod::wait_gone)
    }
}

/// Waits until a PF and its VFs have their earlier state again.
///
/// # Errors
/// With both states, if they differ at the deadline.
pub fn wait_restored(pf: &Pf, before: &Value) -> Result<()> {
    let mut now = Value::Null;
    wait_for("the VFs have their earlier state", || {
        now = pf.baseline().unwrap_or_default();
        now == *before
    })
    .with_context(|| format!("now {now}\nbefore {before}"))
}

/// Runs containerd's `ctr` in the namespace of the kubelet, and returns its output.
///
/// # Errors
/// With its message, if it fails.
pub fn ctr(words: &[&str]) -> Result<String> {
    let output = Command::new("/usr/bin/ctr")
        .args(["--namespace", "k8s.io"])
        .args(words)
        .output()
        .context("cannot start ctr")?;
    if !output.status.success() {
        bail!(
            "ctr {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
