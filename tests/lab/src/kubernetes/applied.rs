//! Applies the manifests to a real API server: it admits them, and a configuration that exists is never replaced.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::control::ControlPlane;
use super::tools::{required_values, said};
use crate::cache::Cache;
use crate::manifests::{BASE, CHART};
use crate::progress;

/// The namespace of the chart's releases here.
const NAMESPACE: &str = "network";
/// A configuration that is in use before anything is installed.
const CONFIG: &str = "{\"resourceList\":[]}";

/// Runs all checks; the first that fails is an error.
///
/// # Errors
/// When a part is missing, or a check fails.
pub(super) fn check(cache: &Cache, helm: &Path, all: &[(String, Vec<Value>)]) -> Result<()> {
    let dir = cache.run_dir()?;
    let home = dir.join("control");
    let plane = ControlPlane::alone(&home)?;
    let cluster = Cluster {
        helm,
        home: &home,
        plane: &plane,
    };
    plane.kubectl(&["create", "namespace", NAMESPACE])?;
    progress::step("applying the manifests", || {
        for (name, documents) in all {
            cluster.admits(name, documents)?;
        }
        cluster.base_leaves_a_configuration()?;
        cluster.chart_refuses_a_configuration_that_is_not_its_own()?;
        cluster.chart_uses_a_configuration_that_is_named()?;
        cluster.chart_owns_the_configuration_that_it_created()
    })
}

struct Cluster<'a> {
    helm: &'a Path,
    /// A directory for helm's own files.
    home: &'a Path,
    plane: &'a ControlPlane,
}

impl Cluster<'_> {
    /// The API server admits all documents that it has a kind for.
    fn admits(&self, name: &str, documents: &[Value]) -> Result<()> {
        let is_custom = |one: &&Value| {
            let version = one.get("apiVersion").and_then(Value::as_str);
            version
                .is_some_and(|version| version.contains("coreos") || version.contains("openshift"))
        };
        let items: Vec<&Value> = documents.iter().filter(|one| !is_custom(one)).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let file = tempfile::Builder::new().suffix(".json").tempfile()?;
        std::fs::write(file.path(), list.to_string())?;
        let path = file.path().to_string_lossy();
        let dry = ["apply", "--dry-run=server", "--validate=strict", "-f"];
        self.plane
            .kubectl(&[&dry[..], &[&path]].concat())
            .with_context(|| name.to_owned())?;
        Ok(())
    }

    fn base_leaves_a_configuration(&self) -> Result<()> {
        self.create_configuration("kube-system")?;
        self.plane.kubectl(&["apply", "-k", BASE])?;
        self.expect_configuration("kube-system", CONFIG)
    }

    fn chart_refuses_a_configuration_that_is_not_its_own(&self) -> Result<()> {
        self.create_configuration(NAMESPACE)?;
        match self.run_helm(&["install", "virtfn", CHART], "") {
            Err(error) if format!("{error:#}").contains("--set config.existing=sriovdp-config") => {
            }
            Err(error) => return Err(error.context("no command to run in the refusal")),
            Ok(_) => bail!("the chart replaced a ConfigMap that is not its own"),
        }
        self.expect_configuration(NAMESPACE, CONFIG)
    }

    fn chart_uses_a_configuration_that_is_named(&self) -> Result<()> {
        let existing = "config.existing=sriovdp-config";
        self.run_helm(&["install", "virtfn", CHART], existing)?;
        self.run_helm(&["upgrade", "virtfn", CHART], existing)?;
        self.run_helm(&["uninstall", "virtfn"], "")?;
        self.expect_configuration(NAMESPACE, CONFIG)
    }

    fn chart_owns_the_configuration_that_it_created(&self) -> Result<()> {
        let delete = ["delete", "configmap", "sriovdp-config"];
        self.plane
            .kubectl(&[&delete[..], &["--namespace", NAMESPACE]].concat())?;
        self.run_helm(&["install", "virtfn", CHART], "")?;
        self.run_helm(&["upgrade", "virtfn", CHART], "devicePlugin.logLevel=debug")?;
        self.run_helm(&["uninstall", "virtfn"], "")?;
        Ok(())
    }

    fn create_configuration(&self, namespace: &str) -> Result<()> {
        let literal = format!("--from-literal=config.json={CONFIG}");
        let create = ["create", "configmap", "sriovdp-config", &literal];
        self.plane
            .kubectl(&[&create[..], &["--namespace", namespace]].concat())?;
        Ok(())
    }

    fn expect_configuration(&self, namespace: &str, expected: &str) -> Result<()> {
        let get = ["get", "configmap", "sriovdp-config", "--output=json"];
        let text = self
            .plane
            .kubectl(&[&get[..], &["--namespace", namespace]].concat())?;
        let map: Value = serde_json::from_str(&text)?;
        if map.pointer("/data/config.json") != Some(&json!(expected)) {
            bail!("the ConfigMap of {namespace} was replaced: {text}");
        }
        Ok(())
    }

    fn run_helm(&self, words: &[&str], set: &str) -> Result<String> {
        let mut command = Command::new(self.helm);
        command
            .args(words)
            .args(["--namespace", NAMESPACE, "--kubeconfig"])
            .arg(self.plane.kubeconfig("admin"))
            .env("HOME", self.home);
        if !words.contains(&"uninstall") {
            command.args(required_values()).args(["--set", set]);
        }
        said(&mut command).with_context(|| format!("helm {}", words.join(" ")))
    }
}
