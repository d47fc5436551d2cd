//! `cargo lab manifests`: renders the kustomize base and the chart with the real kubectl and helm, and compares with `tests/golden/`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::checkout::workspace;
use crate::go;
use crate::manifests::{BASE, CHART, GOLDEN, Golden, chart_digest};

/// The oldest Kubernetes for which the chart is rendered.
const KUBERNETES: &str = "1.34.0";

/// Renders everything; true if it equals the golden files, or was written to them.
///
/// # Errors
/// If a tool is missing or fails.
pub fn run(is_written: bool) -> Result<bool> {
    let cache = Cache::open()?;
    let kubectl = go::module(&cache, "kubernetes", "kubectl")?.join("kubectl");
    let helm = go::module(&cache, "helm", "helm")?.join("helm");
    let mut is_same = lint(&helm)? && is_overlay_good(&kubectl)?;
    for golden in &GOLDEN {
        let text = render(golden, &kubectl, &helm)?;
        let path = golden.path();
        if is_written {
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            println!(
                "{} differs from the rendered form: `cargo lab manifests --write` updates it",
                golden.name
            );
            is_same = false;
        }
    }
    Ok(is_same)
}

fn render(golden: &Golden, kubectl: &Path, helm: &Path) -> Result<String> {
    if !golden.is_chart {
        return said(Command::new(kubectl).args(["kustomize", BASE]));
    }
    let mut command = Command::new(helm);
    command.args(["template", "virtfn", CHART, "--kube-version", KUBERNETES]);
    command.args(["--namespace", golden.namespace]);
    if let Some(values) = golden.values {
        command.arg("--values").arg(Path::new(CHART).join(values));
    }
    let digest = chart_digest()?;
    Ok(format!("# of the chart {digest}\n{}", said(&mut command)?))
}

/// Whether the overlay of `docs/install.md` has the documented effect.
fn is_overlay_good(kubectl: &Path) -> Result<bool> {
    let page = std::fs::read_to_string(workspace().join("docs/install.md"))?;
    let shown = page.split("```yaml\n").nth(1);
    let shown = shown.and_then(|rest| rest.split("```").next());
    // kubectl refuses a base with an absolute path.
    let dir = tempfile::Builder::new()
        .prefix(".overlay-")
        .tempdir_in(workspace().join(BASE).join(".."))?;
    std::fs::write(
        dir.path().join("kustomization.yaml"),
        shown.context("docs/install.md shows no overlay")?,
    )?;
    std::fs::copy(
        workspace().join("deploy/examples/configmap.yaml"),
        dir.path().join("configmap.yaml"),
    )?;
    let rendered = said(Command::new(kubectl).arg("kustomize").arg(dir.path()))?;
    let mut is_good = true;
    for wanted in [
        "image: registry.example.com/net/sriov-device-plugin:",
        "feature.node.kubernetes.io/network-sriov.capable: \"true\"",
        "\"resourcePrefix\": \"example.com\"",
    ] {
        if !rendered.contains(wanted) {
            println!("the overlay of docs/install.md has no `{wanted}`:\n{rendered}");
            is_good = false;
        }
    }
    Ok(is_good)
}

/// Whether helm accepts the chart with each set of values, and refuses a wrong value.
fn lint(helm: &Path) -> Result<bool> {
    for values in GOLDEN.iter().filter_map(|golden| golden.values) {
        let mut command = Command::new(helm);
        command.args(["lint", CHART, "--strict", "--kube-version", KUBERNETES]);
        said(command.arg("--values").arg(Path::new(CHART).join(values)))?;
    }
    let mut is_good = true;
    for (value, sentence) in [
        ("metrics.hots=1", "'hots' not allowed"),
        ("metrics.serviceMonitor.enabled=true", "needs metrics.host"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ] {
        let mut command = Command::new(helm);
        command.args(["template", "virtfn", CHART, "--kube-version", KUBERNETES]);
        let refused = match said(command.args(["--set", value])) {
            Ok(_) => "it is accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        if !refused.contains(sentence) {
            println!("{value}: {refused}");
            is_good = false;
        }
    }
    Ok(is_good)
}

fn said(command: &mut Command) -> Result<String> {
    let output = command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
