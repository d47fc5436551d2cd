//! `cargo lab manifests`: renders the kustomize base and the chart with the real kubectl and helm, compares with `tests/golden/`, and validates against the schemas of Kubernetes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::NEWEST;
use super::applied;
use super::schemas::Schemas;
use super::tools::{required_values, said};
use crate::cache::Cache;
use crate::checkout::{cargo, workspace};
use crate::manifests::{
    BASE, CHART, DRA_COMPONENT, GOLDEN, Golden, HELM_DRA, KUSTOMIZE_DRA, chart_digest, documents,
    files, values::with_table,
};
use crate::{debian, go, progress};

/// Variable of the environment that names the directory of `prometheus` and `promtool` to the tests that need them.
pub const PROMETHEUS: &str = "VIRTFN_PROMETHEUS";

/// The oldest Kubernetes for which the chart is rendered.
pub(crate) const KUBERNETES: &str = "1.34.0";

/// Renders everything; true if it is valid, and equals the golden files or was written to them.
///
/// # Errors
/// If a tool is missing or fails.
pub fn run(is_written: bool) -> Result<bool> {
    let cache = Cache::open()?;
    let kubectl = go::kubernetes(&cache, NEWEST)?.join("kubectl");
    let helm = go::module(&cache, "helm", "helm")?.join("helm");
    let mut is_good = is_current(
        &workspace().join(CHART).join("README.md"),
        is_written,
        &readme()?,
    )?;
    is_good &= lint(&helm)? & is_overlay_good(&kubectl)?;
    let mut all = Vec::new();
    for golden in &GOLDEN {
        let text = render(golden, &kubectl, &helm)?;
        all.push((golden.name.to_owned(), documents(&text)?));
        is_good &= is_current(&golden.path(), is_written, &text)?;
    }
    let component = said(Command::new(&kubectl).args(["kustomize", DRA_COMPONENT]))?;
    let chart = render(&HELM_DRA, &kubectl, &helm)?;
    for (golden, text) in [(KUSTOMIZE_DRA, component), (HELM_DRA, chart)] {
        all.push((golden.name.to_owned(), documents(&text)?));
        is_good &= is_current(&golden.path(), is_written, &text)?;
    }
    for (name, values) in platforms()? {
        let rendered = said(template(&helm).arg("--values").arg(values))?;
        all.push((name, documents(&rendered)?));
    }
    is_good &= is_valid(&all)?;
    applied::check(&cache, &helm, &all)?;
    Ok(is_good & have_queries_results(&cache)?)
}

/// Whether a file is what was made, or is written now.
fn is_current(path: &Path, is_written: bool, text: &str) -> Result<bool> {
    if is_written {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(true);
    }
    let is_same = std::fs::read_to_string(path).is_ok_and(|before| before == text);
    if !is_same {
        let name = path.strip_prefix(workspace()).unwrap_or(path).display();
        println!("{name} is not current: `cargo lab manifests --write`");
    }
    Ok(is_same)
}

/// The chart's README with the table of its values.
fn readme() -> Result<String> {
    let read = |name: &str| std::fs::read_to_string(workspace().join(CHART).join(name));
    with_table(&read("README.md")?, &read("values.yaml")?)
}

/// Whether the oldest and the newest Kubernetes take what was rendered.
fn is_valid(all: &[(String, Vec<Value>)]) -> Result<bool> {
    let mut mistakes = 0;
    for tools in ["schemas-oldest", "schemas-newest"] {
        let schemas = Schemas::of(tools)?;
        for (name, documents) in all {
            for mistake in documents.iter().flat_map(|one| schemas.mistakes(one)) {
                println!("{name}, Kubernetes {}: {mistake}", schemas.release);
                mistakes += 1;
            }
        }
    }
    Ok(mistakes == 0)
}

/// Whether each query of dashboard and rules has a result in Debian's Prometheus.
fn have_queries_results(cache: &Cache) -> Result<bool> {
    let root = debian::packages(cache, "prometheus-v1", &["prometheus"])?;
    let words = [
        "test",
        "--quiet",
        "--package=sriov-suites",
        "--test=constructed",
    ];
    let output = progress::step("running all queries in Prometheus", || {
        cargo()
            .args(words)
            .args(["--", "--ignored"])
            .env(PROMETHEUS, root.join("usr/bin"))
            .output()
    })?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let has_passed = output.status.success() && printed.contains(" 1 passed;");
    if !has_passed {
        println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(has_passed)
}

/// Names and files of the values for platforms.
fn platforms() -> Result<Vec<(String, std::path::PathBuf)>> {
    let of = |path: std::path::PathBuf| (path.display().to_string(), path);
    let all = files(&format!("{CHART}/platforms"))?;
    Ok(all.into_iter().map(of).collect())
}

fn render(golden: &Golden, kubectl: &Path, helm: &Path) -> Result<String> {
    let Some(values) = golden.values else {
        return said(Command::new(kubectl).args(["kustomize", BASE]));
    };
    let mut command = template(helm);
    command.args(["--namespace", golden.namespace]);
    command.arg("--values").arg(Path::new(CHART).join(values));
    let digest = chart_digest()?;
    Ok(format!("# of the chart {digest}\n{}", said(&mut command)?))
}

/// helm with the words that render the chart with an image.
fn template(helm: &Path) -> Command {
    let mut command = Command::new(helm);
    command.args(["template", "virtfn", CHART, "--kube-version", KUBERNETES]);
    command.args(required_values());
    command
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

/// Whether helm accepts the chart with each set of values, and refuses wrong values with a helpful sentence.
fn lint(helm: &Path) -> Result<bool> {
    for values in GOLDEN.iter().filter_map(|golden| golden.values) {
        let mut command = Command::new(helm);
        command.args(["lint", CHART, "--strict", "--kube-version", KUBERNETES]);
        command.args(required_values());
        said(command.arg("--values").arg(Path::new(CHART).join(values)))?;
    }
    let mut is_good = true;
    for (value, sentence) in [
        (
            "image.repository=",
            "Set image.repository to the name under which",
        ),
        ("metrics.hots=1", "'hots' not allowed"),
        ("metrics.serviceMonitor.enabled=true", "Set metrics.host"),
        ("metrics.podMonitor.enabled=true", "Set metrics.host"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        (
            "updateStrategy.rollingUpdate.maxSurge=1",
            "/updateStrategy/rollingUpdate/maxSurge",
        ),
        (
            "devicePlugin.registration=none",
            "/devicePlugin/registration",
        ),
        ("config.byNodeName=true", "config.byNodeName needs"),
        (
            "metrics.host=0.0.0.0,metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
            "not both",
        ),
        (
            "config.existing=a,config.nodes.b[0].resourceName=c",
            "config.nodes is for the ConfigMap that the chart creates",
        ),
    ] {
        let refused = match said(template(helm).args(["--set", value])) {
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
