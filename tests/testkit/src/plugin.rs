//! Runs the real device plugin, and kills it when its owner is dropped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use sriov_lab::arm64::DEVICE_PLUGIN;
use sriov_lab::checkout::{cargo, target};
use sriov_lab::wait::wait_for;

/// The device plugin that `VIRTFN_DEVICE_PLUGIN` names, or else the debug binary, built at the first call.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        if let Some(other) = std::env::var_os(DEVICE_PLUGIN) {
            return Ok(other.into());
        }
        let build = cargo()
            .args(["build", "--quiet", "--package", "sriov-device-plugin"])
            .status();
        match build {
            Ok(status) if status.success() => Ok(target().join("debug/sriov-device-plugin")),
            other => Err(format!("cannot build the device plugin: {other:?}")),
        }
    });
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

/// Flags that place all files of a plugin below a directory: its configuration, `kubelet`, `devinfo`, and more pairs of flag and path.
pub fn flags(dir: &Path, config: &str, more: &[(&str, &str)]) -> Vec<String> {
    let all = [
        ("config-file", config),
        ("kubelet-dir", "kubelet"),
        ("devinfo-dir", "devinfo"),
    ];
    let flag = |(name, path): &(&str, &str)| format!("--{name}={}", dir.join(path).display());
    all.iter().chain(more).map(flag).collect()
}

/// The process.
#[derive(Debug)]
pub struct Plugin(Child);

impl Plugin {
    /// Starts the binary with a file for its log.
    pub fn start(binary: &Path, args: &[impl AsRef<OsStr>], log: &Path) -> Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = Command::new(binary);
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Ok(Self(child.with_context(|| {
            format!("cannot start {}", binary.display())
        })?))
    }

    /// Id of the process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.0.id())?), signal)?)
    }

    /// Sends SIGTERM and waits for the exit; an exit code other than 0 is an error.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let mut status = None;
        wait_for("the device plugin has exited", || {
            status = self.0.try_wait().ok().flatten();
            status.is_some()
        })?;
        match status {
            Some(status) if status.success() => Ok(()),
            other => bail!("the device plugin exited with {other:?}"),
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
