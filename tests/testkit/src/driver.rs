//! Runs the real DRA driver on a constructed machine, against the double of the API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use sriov_lab::checkout::{cargo, target};
use sriov_lab::wait::wait_for;

use crate::api_server::ApiServer;
use crate::plugin::Plugin;
use crate::scrape::Scrape;

/// The name of the node.
pub const NODE: &str = "node-1";

/// The debug binary for tests on this machine, built at the first call.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        let build = cargo()
            .args(["build", "--quiet", "--package", "sriov-dra-driver"])
            .status();
        match build {
            Ok(status) if status.success() => Ok(target().join("debug/sriov-dra-driver")),
            other => Err(format!("cannot build the DRA driver: {other:?}")),
        }
    });
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

/// The process, with the API server that it uses.
#[derive(Debug)]
pub struct Driver {
    /// The process.
    pub process: Plugin,
    /// Its metrics and probes.
    pub scrape: Scrape,
}

/// The flags of a driver for a node, with all of its files below a directory; `root` is that of its machine.
pub fn flags(node: &str, dir: &Path, root: &Path) -> Vec<String> {
    let mut flags = vec![
        format!("--node-name={node}"),
        format!("--host-root={}", root.display()),
    ];
    for (flag, path) in [
        ("kubeconfig", "kubeconfig"),
        ("config-file", "config.json"),
        ("kubelet-dir", "kubelet"),
        ("devinfo-dir", "devinfo"),
        ("cdi-dir", "cdi"),
        ("cni-dir", "cni"),
    ] {
        flags.push(format!("--{flag}={}", dir.join(path).display()));
    }
    flags
}

impl Driver {
    /// Starts the driver with all of its files below a directory: `sys` is below it, and `config.json` is the resource list.
    pub fn start(dir: &Path, api: &ApiServer, more: &[&str]) -> Result<Self> {
        let kubeconfig = dir.join("kubeconfig");
        api.write_kubeconfig(&kubeconfig)?;
        let mut flags = flags(NODE, dir, dir);
        flags.push("--metrics-address=0".to_owned());
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        fs::create_dir_all(dir.join("kubelet"))?;
        let log = dir.join("driver.log");
        let process = Plugin::start(binary()?, &flags, &log)?;
        let scrape = Scrape::of_log(&log)?;
        Ok(Self { process, scrape })
    }

    /// Waits until the API server has all slices.
    pub fn wait_until_published(&self) -> Result<()> {
        wait_for("the slices are published", || {
            self.scrape
                .ask("GET /readyz")
                .is_ok_and(|(code, _)| code == 200)
        })
    }
}
