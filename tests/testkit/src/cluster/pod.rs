//! A pod: its state and events at the API server, the status from Multus, and its network namespace.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::patience::{PAUSE, last_lines, wait_for};
use super::service::Service;
use crate::node::{ip_json, wait_within};

/// A pod; it is deleted when this is dropped.
#[derive(Debug)]
pub struct Pod<'a> {
    api: &'a Api,
    namespace: String,
    /// Its name.
    pub name: String,
}

impl<'a> Pod<'a> {
    pub(super) fn new(
        api: &'a Api,
        namespace: Option<String>,
        name: String,
        spec: &Value,
    ) -> Result<Self> {
        let pod = Self {
            api,
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            name,
        };
        api.post(&pod.siblings(), spec)?;
        Ok(pod)
    }

    /// An existing pod of the default namespace.
    pub(super) fn there(api: &'a Api, name: &str) -> Self {
        Self {
            api,
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    /// The pod as stored by the API server.
    pub fn read(&self) -> Result<Value> {
        self.api.get(&self.path())
    }

    /// Waits until all its containers run.
    ///
    /// # Errors
    /// With the pod's status and events, if they do not.
    pub fn wait_running(&self) -> Result<Value> {
        self.wait_containers("runs", |container| {
            container.pointer("/state/running").is_some()
        })
    }

    /// Waits until all its containers have restarted, or the kubelet has failed the pod; true if they run.
    ///
    /// # Errors
    /// If neither happens.
    pub fn wait_resumed(&self) -> Result<bool> {
        let mut runs = false;
        wait_for(
            &format!("pod {} runs again or is refused", self.name),
            || {
                let pod = self.read().unwrap_or_default();
                runs = pod
                    .pointer("/status/containerStatuses")
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.iter().all(runs_again));
                runs || pod.pointer("/status/phase") == Some(&json!("Failed"))
            },
        )
        .with_context(|| last_lines(&Service::Kubelet.log()))?;
        Ok(runs)
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

    /// Waits until its containers run and are ready.
    ///
    /// # Errors
    /// The same as for [`Pod::wait_running`].
    pub fn wait_ready(&self) -> Result<Value> {
        self.wait_containers("is ready", |container| {
            container.get("ready") == Some(&json!(true))
        })
    }

    /// Waits until the kubelet has failed the pod, and returns reason and message.
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

    /// Waits until the message of an event of the pod contains `text`, and returns the message.
    pub fn wait_event(&self, text: &str) -> Result<String> {
        let mut found = None;
        wait_for(
            &format!("an event of {} contains `{text}`", self.name),
            || {
                let events = self.events().unwrap_or_default();
                found = events.into_iter().find(|message| message.contains(text));
                found.is_some()
            },
        )
        .with_context(|| format!("its events: {:#?}", self.events().unwrap_or_default()))?;
        found.context("no event")
    }

    /// The messages of its events.
    pub fn events(&self) -> Result<Vec<String>> {
        let list = self.api.get(&format!(
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

    /// The status of one network, which Multus wrote.
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
        self.ask_to_go()?;
        self.wait_gone()
    }

    pub(super) fn ask_to_go(&self) -> Result<()> {
        self.api.delete(&self.path()).map(drop)
    }

    /// Waits until it is gone, whoever deleted it.
    pub fn wait_gone(&self) -> Result<()> {
        let gone = wait_for(&format!("pod {} is gone", self.name), || self.is_gone());
        gone.with_context(|| last_lines(&Service::Kubelet.log()))
    }

    fn is_gone(&self) -> bool {
        self.api.is_missing(&self.path())
    }

    fn siblings(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.siblings(), self.name)
    }
}

fn runs_again(container: &Value) -> bool {
    let count = container.get("restartCount").and_then(Value::as_u64);
    container.pointer("/state/running").is_some() && count > Some(0)
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        // A deleted pod is gone already. After a failure there is no time for the long deadline.
        if self.ask_to_go().is_ok() {
            let deadline = Duration::from_secs(30);
            let _ = wait_within(deadline, PAUSE, "the pod is gone", || self.is_gone());
        }
    }
}
