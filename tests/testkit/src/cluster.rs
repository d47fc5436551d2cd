//! The lab's node as a Kubernetes node, seen from a suite on it: services, pods, and what is in their network namespaces.
//!
//! Start at [`Cluster::join`]; `api` talks to the API server, `service` keeps programs running, `pod` is a pod, `workload` is what the suites put on the node. Only in the guest, as root.

pub mod api;
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

/// Our device plugin's configuration file.
const CONFIG: &str = "/run/virtfn/config.json";
/// The node in its cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: Api,
}

impl Cluster {
    /// Starts what does not run yet and waits until the node is ready and has the image of the suites' pods.
    ///
    /// # Errors
    /// As [`Cluster::start_kubelet`].
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

    /// Starts kubelet, where it does not run, and waits until it says that the node is ready: what the API server shows until then is from the kubelet before.
    ///
    /// # Errors
    /// When the node does not become ready; the end of kubelet's log says why.
    pub fn start_kubelet(&self) -> Result<()> {
        if Service::Kubelet.is_running() {
            return Ok(());
        }
        let before = self.heartbeat_when_ready();
        Service::Kubelet.ensure_started()?;
        wait_for("kubelet says that the node is ready", || {
            let now = self.heartbeat_when_ready();
            now.is_some() && now != before
        })
        .with_context(|| last_lines(&Service::Kubelet.log()))
    }

    /// When kubelet last said that the node is ready.
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

    /// Has the device plugin offer the resources of the examples; it stays for the next test of the suite.
    pub fn offer_examples(&self) -> Result<()> {
        self.offer(&workload::example_config()?)
    }

    /// Has it offer them, and makes the network of `example.com/trading`, of which the first PF's VFs 0 to 3 are.
    pub fn offer_trading(&self) -> Result<()> {
        self.offer_examples()?;
        self.apply_network(workload::TRADING)?;
        self.wait_allocatable("example.com/trading", 4)
    }

    /// Has the device plugin offer the resources of a list; it stays for the next test of the suite.
    pub fn offer(&self, config: &str) -> Result<()> {
        let present = std::fs::read_to_string(CONFIG).unwrap_or_default();
        if Service::DevicePlugin.is_running() && present == config {
            return Ok(());
        }
        self.offer_nothing()?;
        std::fs::write(CONFIG, config)?;
        Service::DevicePlugin.ensure_started()
    }

    /// Ends the device plugin, and waits until the node offers nothing: what the API server shows is older than what kubelet knows.
    pub fn offer_nothing(&self) -> Result<()> {
        if Service::DevicePlugin.is_running() {
            Service::DevicePlugin.kill()?;
        }
        wait_for("the node offers nothing", || {
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
        offered.context("the node says nothing of what it offers")
    }

    /// How many devices of a resource the node offers now.
    pub fn allocatable(&self, resource: &str) -> Result<u64> {
        let offered = self.offered()?;
        let text = offered.get(resource).and_then(Value::as_str);
        Ok(text.unwrap_or("0").parse()?)
    }

    /// Waits until the node offers so many devices.
    pub fn wait_allocatable(&self, resource: &str, count: u64) -> Result<()> {
        wait_for(&format!("the node offers {count} {resource}"), || {
            self.allocatable(resource).is_ok_and(|now| now == count)
        })
        .with_context(|| {
            format!(
                "kubelet says:\n{}\nthe device plugin says:\n{}",
                last_lines(&Service::Kubelet.log()),
                last_lines(&Service::DevicePlugin.log())
            )
        })
    }

    /// Makes a network attachment definition from its manifest, or puts it in the place of the one there.
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

    /// Makes a pod and answers it; it goes with its owner.
    pub fn pod(&self, spec: &Value) -> Result<Pod<'_>> {
        let text = |key: &str| {
            let value = spec.pointer(&format!("/metadata/{key}"));
            value.and_then(Value::as_str).map(str::to_owned)
        };
        let name = text("name").context("a pod without a name")?;
        Pod::new(&self.api, text("namespace"), name, spec)
    }

    /// A pod of the default namespace that somebody made; it goes with its owner.
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

/// Waits until a PF and its VFs are what they were.
///
/// # Errors
/// With both, when they are not.
pub fn wait_restored(pf: &Pf, before: &Value) -> Result<()> {
    let mut now = Value::Null;
    wait_for("the VFs are as they were", || {
        now = pf.baseline().unwrap_or_default();
        now == *before
    })
    .with_context(|| format!("now {now}\nbefore {before}"))
}

/// Has the runtime's own tool do something with kubelet's images and containers; gives what it says.
///
/// # Errors
/// With its message, when it refuses.
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
