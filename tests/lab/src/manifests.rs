//! The manifests of `deploy/` as data, and the golden files of their rendered forms.

pub mod values;

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::checkout::workspace;
use crate::digest::sha256;

/// The kustomize base.
pub const BASE: &str = "deploy/kustomize/base";
/// The kustomize component of the DRA driver.
pub const DRA_COMPONENT: &str = "deploy/kustomize/dra";
/// The chart.
pub const CHART: &str = "deploy/helm/virtfn";

/// The documents of a YAML text.
///
/// # Errors
/// If it is not YAML.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect()
}

/// The documents of a file of the checkout.
///
/// # Errors
/// If it cannot be read, or is not YAML.
pub fn read(name: &str) -> Result<Vec<Value>> {
    let path = workspace().join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
    documents(&text).with_context(|| format!("{name} is not YAML"))
}

/// The documents of a kind.
pub fn kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_of_it = |document: &&Value| document.get("kind").is_some_and(|one| one == kind);
    documents.iter().filter(is_of_it).collect()
}

/// All files below a directory of the checkout, sorted.
///
/// # Errors
/// When it cannot be listed.
pub fn files(dir: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut dirs = vec![workspace().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One digest of all files of the chart. Each rendered form begins with it, which ties the form to the chart where helm is missing.
///
/// # Errors
/// When a file cannot be read.
pub fn chart_digest() -> Result<String> {
    let mut all = Vec::new();
    for path in files(CHART)? {
        let name = path.strip_prefix(workspace()).unwrap_or(&path);
        all.extend(name.to_string_lossy().bytes());
        all.push(0);
        all.extend(std::fs::read(&path)?);
        all.push(0);
    }
    Ok(sha256(&all))
}

/// Values without which the chart cannot be rendered; the other files of values come on top.
pub const MINIMAL: &str = "ci/minimal-values.yaml";

/// A golden file: the rendered form of a chart or a kustomize base.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// The file below `tests/golden/`.
    pub name: &'static str,
    /// The namespace it is rendered for.
    pub namespace: &'static str,
    /// A file of the chart with other values than its defaults; absent for kustomize.
    pub values: Option<&'static str>,
}

/// The rendered form of the kustomize base.
pub const KUSTOMIZE: Golden = Golden {
    name: "kustomize.yaml",
    namespace: "kube-system",
    values: None,
};
/// The rendered form of the DRA driver's component; its pod is not one of the device plugin's, and so it is not in [`GOLDEN`].
pub const KUSTOMIZE_DRA: Golden = Golden {
    name: "kustomize-dra.yaml",
    namespace: "kube-system",
    values: None,
};
/// The chart with the DRA driver, not in [`GOLDEN`] for the same reason.
pub const HELM_DRA: Golden = chart("helm-dra.yaml", "network", "ci/dra-values.yaml");
/// The chart with nothing but the name of an image.
pub const DEFAULT: Golden = chart("helm-default.yaml", "kube-system", MINIMAL);
/// The chart with other values than the defaults.
pub const EVERYTHING: Golden = chart(
    "helm-everything.yaml",
    "network",
    "ci/everything-values.yaml",
);
/// The chart with what Prometheus and Grafana need.
pub const MONITORING: Golden = chart(
    "helm-monitoring.yaml",
    "network",
    "ci/monitoring-values.yaml",
);

/// The chart for nodes on which the plugins' directory does not belong to root.
pub const KUBESPRAY: Golden = chart(
    "helm-kubespray.yaml",
    "kube-system",
    "platforms/kubespray.yaml",
);

/// All rendered forms.
pub const GOLDEN: [Golden; 10] = [
    KUSTOMIZE,
    DEFAULT,
    EVERYTHING,
    MONITORING,
    chart("helm-by-node.yaml", "network", "ci/by-node-values.yaml"),
    chart("helm-k0s.yaml", "kube-system", "platforms/k0s.yaml"),
    chart("helm-k3s.yaml", "kube-system", "platforms/k3s.yaml"),
    KUBESPRAY,
    chart(
        "helm-microk8s.yaml",
        "kube-system",
        "platforms/microk8s.yaml",
    ),
    chart("helm-openshift.yaml", "network", "platforms/openshift.yaml"),
];

const fn chart(name: &'static str, namespace: &'static str, values: &'static str) -> Golden {
    Golden {
        name,
        namespace,
        values: Some(values),
    }
}

impl Golden {
    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        workspace().join("tests/golden").join(self.name)
    }

    /// The documents of the file.
    ///
    /// # Errors
    /// If it cannot be read, or is not YAML.
    pub fn documents(&self) -> Result<Vec<Value>> {
        documents(&std::fs::read_to_string(self.path())?)
    }
}
