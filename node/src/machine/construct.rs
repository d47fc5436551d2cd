//! Writes a machine as a tree of `sys` and `proc` below a directory, in the shape that the kernel gives them.

mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sriov_host::{HostRoot, PciAddress};

use self::links::Links;
use super::file::{Function, Machine, Port, Subfunction};
use super::names::{PORT_STATES, function_dir, relative};
use crate::discover::recorded;

/// A machine could not be constructed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct ConstructError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A machine in a directory of its own, which is removed with this value.
#[derive(Debug)]
pub struct Constructed {
    root: HostRoot,
    _dir: tempfile::TempDir,
}

impl Constructed {
    /// Constructs a machine below the directory for temporary files.
    ///
    /// # Errors
    /// When the directory cannot be written: `TMPDIR` names another.
    pub fn new(machine: &Machine) -> Result<Self, ConstructError> {
        let dir = tempfile::tempdir().map_err(|source| ConstructError {
            path: std::env::temp_dir(),
            source,
        })?;
        machine.construct(dir.path())?;
        Ok(Self {
            root: HostRoot::new(dir.path()),
            _dir: dir,
        })
    }

    /// The root of the machine's files.
    pub fn root(&self) -> &HostRoot {
        &self.root
    }
}

impl Machine {
    /// Writes the machine below `root`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn construct(&self, root: &Path) -> Result<(), ConstructError> {
        let tree = Tree { root };
        tree.directory(Path::new("sys/bus/pci/devices"))?;
        let mut links = Links::new(&tree, self);
        for (address, function) in &self.functions {
            let dir = function_dir(address);
            tree.function(&dir, function)?;
            tree.link(Path::new("sys/bus/pci/devices").join(address), &dir)?;
            let net = match &function.virtio {
                Some(virtio) => dir.join(virtio).join("net"),
                None => dir.join("net"),
            };
            links.below(&net, &function.net)?;
            for (name, subfunction) in &function.subfunctions {
                let dir = dir.join(name);
                tree.subfunction(&dir, subfunction)?;
                let bus = Path::new("sys/bus/auxiliary/devices").join(name);
                tree.link(bus, &dir)?;
                links.below(&dir.join("net"), &subfunction.net)?;
            }
        }
        links.interfaces()?;
        links.routes()?;
        tree.vfs(self)?;
        if let Some(release) = &self.kernel {
            tree.text("proc/sys/kernel/osrelease".into(), release.clone())?;
        }
        let profiles = self.functions.iter();
        let profiles = profiles
            .filter_map(|(address, function)| Some((address, function.ddp_profile.as_ref()?)));
        tree.pairs(recorded::DDP_PROFILES, profiles)?;
        let altnames = self.links();
        let altnames = altnames.flat_map(|(name, link)| {
            let altnames = link.altnames.iter();
            altnames.map(move |altname| (name, altname))
        });
        tree.pairs(recorded::ALTNAMES, altnames)?;
        let parents = self.links();
        let parents = parents.filter_map(|(name, link)| Some((name, link.shared_by.as_ref()?)));
        tree.pairs(recorded::SHARED_PARENTS, parents)
    }
}

/// The files below a directory; all paths are relative to it.
#[derive(Clone, Copy, Debug)]
struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    fn function(self, dir: &Path, function: &Function) -> Result<(), ConstructError> {
        let (vendor, device) = function.id.split_once(':').unwrap_or_default();
        let class = function.class.as_deref().unwrap_or("0200");
        self.text(dir.join("vendor"), format!("0x{vendor}"))?;
        self.text(dir.join("device"), format!("0x{device}"))?;
        self.text(dir.join("class"), format!("0x{class:0<6}"))?;
        let numa_node = function.numa_node.map_or(-1, i64::from);
        self.text(dir.join("numa_node"), numa_node.to_string())?;
        if let Some(index) = &function.acpi_index {
            self.text(dir.join("acpi_index"), index.clone())?;
        }
        if let Some(driver) = &function.driver {
            let driver = Path::new("sys/bus/pci/drivers").join(driver);
            self.link(dir.join("driver"), &driver)?;
        }
        if let Some(group) = function.iommu_group {
            let group = Path::new("sys/kernel/iommu_groups").join(group.to_string());
            self.link(dir.join("iommu_group"), &group)?;
            self.directory(&group)?;
            if function.noiommu {
                self.text(group.join("name"), "vfio-noiommu".to_owned())?;
            }
        }
        if let Some(virtio) = &function.virtio {
            self.directory(&dir.join(virtio))?;
        }
        self.rdma(dir, &function.rdma)?;
        for (name, driver) in &function.vdpa {
            let below = dir.join(name);
            self.directory(&below)?;
            self.link(Path::new("sys/bus/vdpa/devices").join(name), &below)?;
            if let Some(driver) = driver {
                let driver = Path::new("sys/bus/vdpa/drivers").join(driver);
                self.link(below.join("driver"), &driver)?;
            }
        }
        for (path, text) in &function.files {
            self.text(dir.join(path), text.clone())?;
        }
        Ok(())
    }

    fn subfunction(self, dir: &Path, subfunction: &Subfunction) -> Result<(), ConstructError> {
        self.text(dir.join("sfnum"), subfunction.sfnum.to_string())?;
        if let Some(driver) = &subfunction.driver {
            let driver = Path::new("sys/bus/auxiliary/drivers").join(driver);
            self.link(dir.join("driver"), &driver)?;
        }
        self.rdma(dir, &subfunction.rdma)
    }

    fn rdma(self, dir: &Path, rdma: &BTreeMap<String, Vec<Port>>) -> Result<(), ConstructError> {
        for (name, ports) in rdma {
            let device = dir.join("infiniband").join(name);
            self.text(device.join("node_type"), "1: CA".to_owned())?;
            for (number, port) in (1..).zip(ports) {
                let dir = device.join("ports").join(format!("{number}"));
                let layer = port.link_layer.as_deref().unwrap_or("Ethernet");
                self.text(dir.join("link_layer"), layer.to_owned())?;
                let word = port.state.as_deref().unwrap_or("ACTIVE");
                let number = PORT_STATES.iter().position(|state| *state == word);
                let number = number.unwrap_or_default();
                self.text(dir.join("state"), format!("{number}: {word}"))?;
                for (index, pkey) in port.pkeys.iter().enumerate() {
                    let file = dir.join("pkeys").join(index.to_string());
                    self.text(file, pkey.clone())?;
                }
            }
        }
        Ok(())
    }

    /// Connects PFs and VFs.
    fn vfs(self, machine: &Machine) -> Result<(), ConstructError> {
        for (address, function) in &machine.functions {
            let dir = function_dir(address);
            if let Some(pf) = &function.physfn {
                self.link(dir.join("physfn"), &function_dir(pf))?;
            }
            let Some(total) = function.sriov_totalvfs else {
                continue;
            };
            let virtfns = virtfns(machine, address, function);
            let count = function.sriov_numvfs.map_or(virtfns.len(), usize::from);
            self.text(dir.join("sriov_totalvfs"), total.to_string())?;
            self.text(dir.join("sriov_numvfs"), count.to_string())?;
            for (index, vf) in virtfns {
                self.link(dir.join(format!("virtfn{index}")), &function_dir(&vf))?;
            }
        }
        Ok(())
    }

    /// Writes lines of two words; no file without lines.
    fn pairs<'a>(
        self,
        path: &str,
        pairs: impl Iterator<Item = (&'a String, &'a String)>,
    ) -> Result<(), ConstructError> {
        let lines: Vec<String> = pairs.map(|(key, value)| format!("{key} {value}")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        self.text(Path::new(path).to_owned(), lines.join("\n"))
    }

    /// Writes an attribute as the kernel does, with a line end.
    fn text(self, path: PathBuf, text: String) -> Result<(), ConstructError> {
        self.parent(&path)?;
        let path = self.root.join(path);
        fs::write(&path, text + "\n").map_err(|source| ConstructError { path, source })
    }

    fn link(self, path: PathBuf, target: &Path) -> Result<(), ConstructError> {
        self.parent(&path)?;
        let target = relative(&path, target);
        let path = self.root.join(path);
        symlink(target, &path).map_err(|source| ConstructError { path, source })
    }

    fn directory(self, path: &Path) -> Result<(), ConstructError> {
        let path = self.root.join(path);
        fs::create_dir_all(&path).map_err(|source| ConstructError { path, source })
    }

    fn parent(self, path: &Path) -> Result<(), ConstructError> {
        path.parent()
            .map_or(Ok(()), |parent| self.directory(parent))
    }
}

/// The links of a PF: those of the file, or else its VFs in the order of their addresses.
pub(super) fn virtfns(
    machine: &Machine,
    address: &str,
    function: &Function,
) -> BTreeMap<u16, String> {
    if !function.virtfn.is_empty() {
        return function.virtfn.clone();
    }
    let functions = machine.functions.iter();
    let vfs = functions.filter(|(_, function)| function.physfn.as_deref() == Some(address));
    let vfs = vfs.filter_map(|(vf, _)| vf.parse::<PciAddress>().ok());
    let vfs: BTreeSet<PciAddress> = vfs.collect();
    let vfs = vfs.into_iter().map(|vf| vf.to_string());
    (0..).zip(vfs).collect()
}
