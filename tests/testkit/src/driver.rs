//! Runs the real DRA driver on a constructed machine or on the lab's node, against the double of the API server.

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
/// The driver on the lab's node.
pub const ON_NODE: &str = "/opt/virtfn/sriov-dra-driver";

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
        Self::start_program(binary()?, dir, dir, api, more)
    }

    /// Starts the driver of the lab's node, with its own files below a directory; the machine is the node.
    pub fn start_on_node(dir: &Path, api: &ApiServer) -> Result<Self> {
        Self::start_program(Path::new(ON_NODE), Path::new("/"), dir, api, &[])
    }

    fn start_program(
        program: &Path,
        root: &Path,
        dir: &Path,
        api: &ApiServer,
        more: &[&str],
    ) -> Result<Self> {
        let kubeconfig = dir.join("kubeconfig");
        api.write_kubeconfig(&kubeconfig)?;
        let mut flags = flags(NODE, dir, root);
        flags.push("--metrics-address=0".to_owned());
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        fs::create_dir_all(dir.join("kubelet"))?;
        let log = dir.join("driver.log");
        let process = Plugin::start(program, &flags, &log)?;
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

    /// Waits until a signal has ended the process and all of its threads.
    pub fn wait_until_killed(&self) -> Result<()> {
        let proc = PathBuf::from(format!("/proc/{}", self.process.id()));
        wait_for("the DRA driver was killed", || {
            // It stays a zombie until it is dropped.
            let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
            let tasks = fs::read_dir(proc.join("task")).map_or(0, Iterator::count);
            status.contains("State:\tZ") && tasks == 1
        })
    }
}
