//! Builds the components that Debian does not package from Go modules: the kubelet, the control plane, kubectl, Multus, cnitool.
//!
//! Versions are pinned by `tests/lab/tools/*/go.mod` and `go.sum`; the programs are unmodified.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::checkout::workspace;
use crate::digest::sha256;
use crate::progress;
use crate::tools::has;

/// Go's own program for self-signed certificates, below `GOROOT`.
const CERTIFICATES: &str = "src/crypto/tls/generate_cert.go";

/// The versions of Kubernetes that the lab has, the newest first: a module of `tests/lab/tools` for each.
pub(crate) const KUBERNETES: &[&str] = &["1.37", "1.34"];

/// Directories with the built programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler.
    pub(crate) kubernetes: PathBuf,
    /// Multus, cnitool, the reference plugins, Go's certificate maker.
    pub(crate) network: PathBuf,
    /// containerd, its shim and `ctr`: Debian's release does not support CDI.
    pub(crate) containerd: PathBuf,
}

/// The programs, with those of a version of Kubernetes, built if the cache does not have the pinned versions.
///
/// # Errors
/// One sentence if Go is missing or the lab does not have the version; otherwise Go's own messages.
pub(crate) fn programs(cache: &Cache, version: &str) -> Result<Programs> {
    Ok(Programs {
        kubernetes: kubernetes(cache, version)?,
        network: module(cache, "network", "Multus and the reference plugins")?,
        containerd: module(cache, "containerd", "containerd")?,
    })
}

/// The programs of a version of Kubernetes.
///
/// # Errors
/// The same as for [`programs`].
pub(crate) fn kubernetes(cache: &Cache, version: &str) -> Result<PathBuf> {
    if !KUBERNETES.contains(&version) {
        bail!(
            "the lab does not have Kubernetes {version}: choose from {}",
            KUBERNETES.join(", ")
        );
    }
    let what = format!("Kubernetes {version}");
    module(cache, &format!("kubernetes-{version}"), &what)
}

/// Builds all tools of one module, static, if the cache does not have the pinned versions.
///
/// # Errors
/// The same as for [`programs`].
pub(crate) fn module(cache: &Cache, name: &str, what: &str) -> Result<PathBuf> {
    let source = workspace().join("tests/lab/tools").join(name);
    let mut pins = std::fs::read(source.join("go.mod"))?;
    pins.extend(std::fs::read(source.join("go.sum"))?);
    let digest = sha256(&pins);
    // Checkouts with other versions have directories of their own.
    let key = format!("go-{name}-{}", digest.get(..12).unwrap_or_default());
    let home = cache.path(&key);
    let _lock = cache.lock()?;
    if home.exists() {
        return Ok(home);
    }
    if !has("go") {
        bail!(
            "`go` is not on this machine: `cargo lab kubernetes` builds {what} from Go modules, install Go 1.26 or newer from https://go.dev/dl"
        );
    }
    cache.ensure_room()?;
    let unfinished = cache.path(&format!("{key}-unfinished"));
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::create_dir_all(&unfinished)?;
    let flags = linker_flags(&std::fs::read_to_string(source.join("go.mod"))?);
    let built = progress::step(&format!("building {what}, once (some minutes)"), || {
        go(&source)
            .args(["build", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(format!("{}/", unfinished.display()))
            .arg("tool")
            .status()
    });
    if !built.context("cannot start go")?.success() {
        bail!("go cannot build {what}; its messages are above");
    }
    let root = go(&source).args(["env", "GOROOT"]).output()?;
    let root = PathBuf::from(String::from_utf8(root.stdout)?.trim());
    let made = go(&source)
        // With the flag of the build above, so that its build of the standard library is used again.
        .args(["build", "-trimpath", "-o"])
        .arg(unfinished.join("generate_cert"))
        .arg(root.join(CERTIFICATES))
        .status()?;
    if !made.success() {
        bail!("go cannot build its own {CERTIFICATES}; its messages are above");
    }
    std::fs::rename(&unfinished, &home)?;
    Ok(home)
}

/// The unpacked sources of a module that `tests/lab/tools/NAME` pins, downloaded when Go's module cache does not have them.
///
/// # Errors
/// As those of [`programs`].
pub(super) fn sources(name: &str, module: &str) -> Result<PathBuf> {
    if !has("go") {
        bail!(
            "`go` is not on this machine: schemas are read out of Go modules, install Go 1.24 or newer from https://go.dev/dl"
        );
    }
    let output = go(&workspace().join("tests/lab/tools").join(name))
        .args(["mod", "download", "-json", module])
        .output()
        .context("cannot start go")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let field = |key: &str| answer.get(key).and_then(serde_json::Value::as_str);
    match field("Dir") {
        Some(dir) if output.status.success() => Ok(dir.into()),
        _ => bail!(
            "go cannot download {module}: {}",
            field("Error").unwrap_or("its messages are above")
        ),
    }
}

fn go(dir: &Path) -> Command {
    let mut command = Command::new("nice");
    command
        .arg("go")
        .current_dir(dir)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly -p=2")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// The kubelet reports its version to the API server; the linker sets the version.
fn linker_flags(go_mod: &str) -> String {
    let version = go_mod.lines().find_map(|line| {
        line.trim()
            .trim_start_matches("require ")
            .strip_prefix("k8s.io/kubernetes v")?
            .split(' ')
            .next()
    });
    version.map_or_else(
        || "-s -w".to_owned(),
        |version| {
            let base = "k8s.io/component-base/version";
            let mut parts = version.split('.');
            let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("-s -w -X {base}.gitVersion=v{version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor}")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_gets_its_version_from_the_linker() {
        let flags = linker_flags("module x\n\nrequire k8s.io/kubernetes v1.34.4 // indirect\n");
        assert!(flags.contains("gitVersion=v1.34.4 "), "{flags}");
        assert!(flags.ends_with("gitMinor=34"), "{flags}");
        assert_eq!(linker_flags("module x\n"), "-s -w");
    }
}
