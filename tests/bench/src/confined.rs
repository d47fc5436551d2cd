//! A constructed machine as the root directory of a program: a peer has fixed paths and no flags for them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};

use sriov_lab::peers::PCI_IDS;
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::node::ip;
use sriov_testkit::plugin::Plugin;
use sriov_testkit::scrape::Scrape;
use sriov_testkit::sized_tree::{self as tree, Size};

/// Path of the program below the root.
const PROGRAM: &str = "/program";
/// Limit for the first lists of a program.
const PATIENCE: Duration = Duration::from_mins(10);

/// Group of the VFs' network devices.
const LINKS: &str = "7";
/// Number of bytes that are quoted from the end of a log.
const LOG: usize = 2000;

/// A static program and the files that it needs.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Path of the program.
    pub program: PathBuf,
    /// The names of PCI devices, for a peer that exits without them.
    pub pci_ids: Option<PathBuf>,
}

/// The machine with its kubelet double.
#[derive(Debug)]
pub struct Confined {
    dir: tempfile::TempDir,
    size: Size,
    resources: usize,
    /// Whether the program gets links with the names of the PFs.
    has_pf_links: bool,
    /// Its kubelet.
    pub kubelet: Kubelet,
}

impl Confined {
    /// Writes the machine for a program, with a configuration of `resources` resources.
    pub fn new(subject: &Subject, size: Size, resources: usize) -> Result<Self> {
        // `/var/run` is in memory on a node: the measurement must not include the synchronisation of a disk.
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
        let copy = |from: &Path, to: &str| {
            fs::copy(from, root.join(to)).with_context(|| format!("cannot copy {}", from.display()))
        };
        copy(&subject.program, PROGRAM.trim_start_matches('/'))?;
        if let Some(names) = &subject.pci_ids {
            let place = root.join(PCI_IDS);
            fs::create_dir_all(place.parent().unwrap_or(root))?;
            copy(names, PCI_IDS)?;
            // A peer queries the kernel for each network device, and drops a VF whose device exists only in the tree.
            tree::give_netdevs_away(root, size)?;
        }
        let kubelet = Kubelet::start(&root.join("var/lib/kubelet"), false)?;
        Ok(Self {
            dir,
            size,
            resources,
            has_pf_links: subject.pci_ids.is_some(),
            kubelet,
        })
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Number of its VFs.
    pub fn functions(&self) -> usize {
        self.size.functions()
    }

    /// The end of the program's log; the log of a peer has megabytes.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let start = text.len().saturating_sub(LOG);
        text.get(start..).unwrap_or(&text).to_owned()
    }

    /// Starts the program with the flags that ours and a peer have.
    pub fn start(&self) -> Result<Plugin> {
        self.start_with(&[])
    }

    /// Moves this thread to a network namespace of its own, and makes the network device of each VF there.
    ///
    /// # Errors
    /// Without root: a process with several threads cannot enter a user namespace.
    pub fn add_links(&self) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let mut batch = "link set lo up\n".to_owned();
        for (name, index) in tree::vf_netdevs(self.size) {
            writeln!(
                batch,
                "link add {name} index {index} group {LINKS} type bridge"
            )?;
        }
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(batch.as_bytes())?;
        let path = file.path().to_str().context("the path is not text")?;
        ip(&["-batch", path])
    }

    /// Removes these network devices. The kernel would remove them with the namespace, during the next measurement.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove_links(&self) -> Result<()> {
        ip(&["link", "del", "group", LINKS])
    }

    /// Starts ours with its HTTP endpoint.
    pub fn start_with_metrics(&self) -> Result<(Plugin, Scrape)> {
        let plugin = self.start_with(&["--metrics-address=127.0.0.1:0"])?;
        Ok((plugin, Scrape::of_log(&self.log_path())?))
    }

    fn start_with(&self, flags: &[&str]) -> Result<Plugin> {
        // In a user namespace, any user can change the root directory.
        let user: &[&str] = if nix::unistd::geteuid().is_root() {
            &[]
        } else {
            &["--map-root-user"]
        };
        let root = format!("--root={}", self.root().display());
        let program = [
            PROGRAM,
            "--logtostderr",
            "--config-file=/etc/pcidp/config.json",
        ];
        let mut args: Vec<&str> = user.to_vec();
        let links = links(self.size.pfs);
        if self.has_pf_links {
            // The shell ends as the program: both have one process id.
            args.extend(["--net", "sh", "-ec", &links, "sh", "unshare"]);
        }
        args.push(&root);
        args.extend(program);
        args.extend(flags);
        Plugin::start(Path::new("unshare"), &args, &self.log_path())
    }

    /// Waits until the newest lists of the kubelet double have this number of devices.
    pub fn wait_for(&self, devices: usize, patience: Duration) -> Result<Resources> {
        let listed = |known: &Resources| {
            let counts = known.values().map(|resource| {
                let newest = resource.lists.last();
                newest.map_or(0, Vec::len)
            });
            known.len() == self.resources && counts.sum::<usize>() == devices
        };
        self.kubelet
            .wait_within(patience, "the lists are complete", listed)
            .with_context(|| self.log())
    }

    /// The same for all devices.
    pub fn wait_for_all(&self) -> Result<Resources> {
        self.wait_for(self.size.functions(), PATIENCE)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("tmp/log")
    }
}

/// A script that makes links with the names of the PFs in the present network namespace, and then executes its arguments.
///
/// The newest Go plugin queries the kernel for each PF, and a constructed machine has none.
fn links(pfs: usize) -> String {
    let adds = (0..pfs).map(|pf| format!("ip link add pf{pf} type bridge; "));
    adds.collect::<String>() + "exec \"$@\""
}
