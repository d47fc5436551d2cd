//! A constructed machine as the root directory of a program: paths that it has built in lead there, for a peer knows no other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::tree::{self, Size};
use crate::kubelet::{Kubelet, Resources};
use crate::plugin::Plugin;

/// Where the program is below the root.
const PROGRAM: &str = "/program";
/// A program that takes this long for its lists is told of as one that does not give them.
const PATIENCE: Duration = Duration::from_mins(10);

/// The machine, with kubelet.
#[derive(Debug)]
pub struct Confined {
    dir: tempfile::TempDir,
    size: Size,
    resources: usize,
    /// Its kubelet.
    pub kubelet: Kubelet,
}

impl Confined {
    /// Makes the machine for a static program, with a configuration of as many resources.
    pub fn new(program: &Path, size: Size, resources: usize) -> Result<Self> {
        // `/var/run` is in memory on a node: a disk's synchronisation is not what is measured.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let root = dir.path();
        tree::build(root, size)?;
        for made in [
            "etc/pcidp",
            "proc",
            "dev",
            "tmp",
            "var/run",
            "var/lib/cni/sriov",
        ] {
            fs::create_dir_all(root.join(made))?;
        }
        let config = tree::resource_list(size, resources);
        fs::write(root.join("etc/pcidp/config.json"), config)?;
        fs::copy(program, root.join(PROGRAM.trim_start_matches('/')))
            .with_context(|| format!("cannot copy {}", program.display()))?;
        let kubelet = Kubelet::start(&root.join("var/lib/kubelet"), false)?;
        Ok(Self {
            dir,
            size,
            resources,
            kubelet,
        })
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// What the program logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts the program with the command line that every manifest has.
    pub fn start(&self) -> Result<Plugin> {
        let root = self.root().to_string_lossy();
        let config = "--config-file=/etc/pcidp/config.json";
        if nix::unistd::geteuid().is_root() {
            let args = [&root, PROGRAM, config];
            return Plugin::start(Path::new("chroot"), &args, &self.log_path());
        }
        // A user's own namespace is what lets anybody change the root directory.
        let root = format!("--root={root}");
        let args = ["--map-root-user", &root, PROGRAM, config];
        Plugin::start(Path::new("unshare"), &args, &self.log_path())
    }

    /// Waits until kubelet has as many devices in its newest lists.
    pub fn wait_for(&self, devices: usize) -> Result<Resources> {
        let listed = |known: &Resources| {
            let counts = known.values().map(|resource| {
                let newest = resource.lists.last();
                newest.map_or(0, Vec::len)
            });
            known.len() == self.resources && counts.sum::<usize>() == devices
        };
        self.kubelet
            .wait_within(PATIENCE, "the lists are as they should be", listed)
            .with_context(|| self.log())
    }

    /// The same for all devices.
    pub fn wait_for_all(&self) -> Result<Resources> {
        self.wait_for(self.size.functions())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("tmp/log")
    }
}
