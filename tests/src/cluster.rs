//! The lab's node as a Kubernetes node, seen from a suite on it: services, pods, and what is in their network namespaces.
//!
//! Start at [`Cluster::join`]; `api` talks to the API server, `workload` is what the suites put on the node. Only in the guest, as root.

pub mod api;
pub mod workload;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use self::api::Api;
use crate::node::{ip_json, wait_for};

/// Where process ids and logs of the services are.
const SERVICES: &str = "/run/virtfn";

/// The node in its cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The API server.
    pub api: Api,
}

/// A program that a real node's init would keep running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The container runtime.
    Containerd,
    /// kubelet.
    Kubelet,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["/usr/bin/containerd"],
            Self::Kubelet => &[
                "/usr/bin/kubelet",
                "--config=/etc/kubernetes/kubelet.yaml",
                "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
                "--hostname-override=node",
                "--node-ip=10.0.2.15",
            ],
        }
    }

    /// What it logged.
    pub fn log(self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Starts it, where it does not run.
    pub fn ensure_started(self) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(SERVICES)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.file("log"))?;
        let (program, words) = self.words().split_first().context("no program")?;
        // It outlives the suite: the next one of this boot finds it by its process id.
        let child = Command::new(program)
            .args(words)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        std::fs::write(self.file("pid"), child.id().to_string())?;
        // Who ends it also reaps it.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait()
        });
        Ok(())
    }

    /// Kills it; what it started goes on.
    pub fn kill(self) -> Result<()> {
        let pid = self.pid().with_context(|| format!("no {}", self.name()))?;
        kill(pid, Signal::SIGKILL)?;
        wait_for(&format!("{} is gone", self.name()), || self.pid().is_none())
    }

    fn pid(self) -> Option<Pid> {
        let pid = std::fs::read_to_string(self.file("pid")).ok()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (program.file_name()? == self.name()).then_some(Pid::from_raw(pid.parse().ok()?))
    }

    fn file(self, extension: &str) -> PathBuf {
        Path::new(SERVICES).join(format!("{}.{extension}", self.name()))
    }
}

impl Cluster {
    /// Starts what does not run yet and waits until the node is ready and has the image of the suites' pods.
    ///
    /// # Errors
    /// When the node does not become ready; the end of kubelet's log says why.
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
        Service::Kubelet.ensure_started()?;
        let ready = wait_for("the node is ready", || cluster.is_ready());
        ready.with_context(|| last_lines(&Service::Kubelet.log()))?;
        Ok(cluster)
    }

    fn is_ready(&self) -> bool {
        let conditions = self
            .api
            .get("/api/v1/nodes/node")
            .ok()
            .and_then(|node| node.pointer("/status/conditions").cloned());
        let is_ready = |condition: &Value| {
            condition.get("type") == Some(&json!("Ready"))
                && condition.get("status") == Some(&json!("True"))
        };
        conditions.is_some_and(|all| all.as_array().is_some_and(|all| all.iter().any(is_ready)))
    }

    /// How many devices of a resource the node offers now.
    pub fn allocatable(&self, resource: &str) -> Result<u64> {
        let node = self.api.get("/api/v1/nodes/node")?;
        let text = node
            .pointer("/status/allocatable")
            .and_then(|all| all.get(resource))
            .and_then(Value::as_str);
        Ok(text.unwrap_or("0").parse()?)
    }

    /// Waits until the node offers so many devices.
    pub fn wait_allocatable(&self, resource: &str, count: u64) -> Result<()> {
        wait_for(&format!("the node offers {count} {resource}"), || {
            self.allocatable(resource).is_ok_and(|now| now == count)
        })
        .with_context(|| {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            format!(
                "kubelet says:\n{}\nthe device plugin says:\n{}",
                last_lines(&Service::Kubelet.log()),
                last_lines(&read(workload::PLUGIN_LOG))
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
        let pod = Pod {
            cluster: self,
            namespace: text("namespace").unwrap_or_else(|| "default".to_owned()),
            name: text("name").context("a pod without a name")?,
        };
        self.api.post(&pod.siblings(), spec)?;
        Ok(pod)
    }
}

/// A pod.
#[derive(Debug)]
pub struct Pod<'a> {
    cluster: &'a Cluster,
    namespace: String,
    /// Its name.
    pub name: String,
}

impl Pod<'_> {
    /// The pod as the API server has it.
    pub fn read(&self) -> Result<Value> {
        self.cluster.api.get(&self.path())
    }

    /// Waits until all its containers run.
    ///
    /// # Errors
    /// With the pod's status and events, when they do not.
    pub fn wait_running(&self) -> Result<Value> {
        self.wait_containers("runs", |container| {
            container.pointer("/state/running").is_some()
        })
    }

    fn wait_containers(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let done = wait_for(&format!("pod {} {what}", self.name), || {
            last = self.read().unwrap_or_default();
            let containers = last
                .pointer("/status/containerStatuses")
                .and_then(Value::as_array);
            containers.is_some_and(|all| all.iter().all(&holds))
        });
        done.with_context(|| {
            let status = last.get("status").cloned().unwrap_or_default();
            format!(
                "its status: {status}\nits events: {:#?}",
                self.events().unwrap_or_default()
            )
        })?;
        Ok(last)
    }

    /// Waits until its containers run and its probes say that they are ready.
    ///
    /// # Errors
    /// As [`Pod::wait_running`].
    pub fn wait_ready(&self) -> Result<Value> {
        self.wait_containers("is ready", |container| {
            container.get("ready") == Some(&json!(true))
        })
    }

    /// Waits until kubelet refused it for good, and answers reason and message.
    pub fn wait_refused(&self) -> Result<String> {
        let mut text = String::new();
        wait_for(&format!("pod {} is refused", self.name), || {
            let pod = self.read().unwrap_or_default();
            let field = |name: &str| {
                let value = pod.pointer(&format!("/status/{name}"));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            text = format!("{}: {}", field("reason"), field("message"));
            field("phase") == "Failed"
        })?;
        Ok(text)
    }

    /// Waits until an event about it has `text` in its message, and answers the message.
    pub fn wait_event(&self, text: &str) -> Result<String> {
        let mut found = None;
        wait_for(&format!("an event of {} says `{text}`", self.name), || {
            let events = self.events().unwrap_or_default();
            found = events.into_iter().find(|message| message.contains(text));
            found.is_some()
        })
        .with_context(|| format!("its events: {:#?}", self.events().unwrap_or_default()))?;
        found.context("no event")
    }

    /// The messages of the events about it.
    pub fn events(&self) -> Result<Vec<String>> {
        let list = self.cluster.api.get(&format!(
            "/api/v1/namespaces/{}/events?fieldSelector=involvedObject.name%3D{}",
            self.namespace, self.name
        ))?;
        let items = list
            .get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let message = |event: &Value| Some(event.get("message")?.as_str()?.to_owned());
        Ok(items.iter().filter_map(message).collect())
    }

    /// The status that Multus gave it of one network.
    pub fn network_status(&self, network: &str) -> Result<Value> {
        let pod = self.read()?;
        let text = pod
            .pointer("/metadata/annotations/k8s.v1.cni.cncf.io~1network-status")
            .and_then(Value::as_str)
            .context("the pod has no network-status")?;
        let all: Vec<Value> = serde_json::from_str(text)?;
        all.into_iter()
            .find(|status| status.get("name") == Some(&json!(network)))
            .with_context(|| format!("{network} is not in {text}"))
    }

    /// The name of its network namespace: the one in which `eth0` has the pod's address.
    pub fn netns(&self) -> Result<String> {
        let pod = self.read()?;
        let address = pod
            .pointer("/status/podIP")
            .and_then(Value::as_str)
            .context("the pod has no address")?;
        for entry in std::fs::read_dir("/run/netns")?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let links = ip_json(Some(&name), &["address", "show"]).unwrap_or_default();
            if links.to_string().contains(&format!("\"{address}\"")) {
                return Ok(name);
            }
        }
        bail!("no network namespace has the address {address}")
    }

    /// Deletes it and waits until it is gone.
    pub fn delete(self) -> Result<()> {
        self.cluster.api.delete(&self.path())?;
        self.wait_gone()
    }

    fn wait_gone(&self) -> Result<()> {
        wait_for(&format!("pod {} is gone", self.name), || {
            self.cluster.api.is_missing(&self.path())
        })
    }

    fn siblings(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.siblings(), self.name)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if self.cluster.api.delete(&self.path()).is_ok() {
            let _ = self.wait_gone();
        }
    }
}

/// The last lines of a log, for a message.
pub fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn ctr(words: &[&str]) -> Result<String> {
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
