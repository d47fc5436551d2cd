//! The daemons of the node: the first suite that needs one starts it, and the next suite finds it running.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::wait_for;

/// Directory of the process ids and logs.
const SERVICES: &str = "/run/virtfn";

/// A daemon of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The container runtime.
    Containerd,
    /// The kubelet.
    Kubelet,
    /// The device plugin, as a process instead of a pod.
    DevicePlugin,
    /// The DRA driver, as a process instead of a pod.
    DraDriver,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::DevicePlugin => "sriov-device-plugin",
            Self::DraDriver => "sriov-dra-driver",
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
            Self::DevicePlugin => &[
                "/opt/virtfn/sriov-device-plugin",
                "--config-file=/run/virtfn/config.json",
            ],
            Self::DraDriver => &[
                "/opt/virtfn/sriov-dra-driver",
                "--node-name=node",
                "--kubeconfig=/run/virtfn/dra.kubeconfig",
                "--config-file=/run/virtfn/config.json",
            ],
        }
    }

    /// Its log.
    pub fn log(self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Starts it unless it runs.
    pub fn ensure_started(self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it with more words on its command line, unless it runs.
    pub fn start_with(self, more: &[&str]) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        std::fs::create_dir_all(SERVICES)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.file("log"))?;
        let (program, words) = self.words().split_first().context("no program")?;
        // It outlives the suite: the next suite of this boot finds it by its process id.
        let child = Command::new(program)
            .args(words)
            .args(more)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        std::fs::write(self.file("pid"), child.id().to_string())?;
        // The suite that kills it must reap it.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait()
        });
        Ok(())
    }

    /// Kills it; its children continue to run.
    pub fn kill(self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Stops it with SIGTERM, and waits until it has ended.
    pub fn stop(self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    fn end(self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("no {}", self.name()))?;
        kill(pid, signal)?;
        wait_for(&format!("{} is gone", self.name()), || self.pid().is_none())
    }

    /// Whether it runs.
    pub fn is_running(self) -> bool {
        self.pid().is_some()
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
