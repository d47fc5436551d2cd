//! A constructed machine: a sysfs tree below a directory, for devices that the emulated NIC lacks.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The machine below a directory.
#[derive(Clone, Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// The machine below `root`, which gets the directory `sys`.
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The directory of a function.
    pub fn device(&self, address: &str) -> PathBuf {
        self.0.join("sys/bus/pci/devices").join(address)
    }

    /// Adds a network function of Intel on NUMA node 1, with a driver.
    pub fn function(&self, address: &str, driver: &str) -> Result<()> {
        for (attribute, text) in [
            ("vendor", "0x8086"),
            ("device", "0x10ca"),
            ("class", "0x020000"),
            ("numa_node", "1"),
        ] {
            self.file(&format!("{address}/{attribute}"), text)?;
        }
        self.bind(address, driver)
    }

    /// Adds a PF without VFs; `total` is its maximum.
    pub fn pf(&self, address: &str, driver: &str, total: u16) -> Result<()> {
        self.function(address, driver)?;
        self.file(&format!("{address}/sriov_totalvfs"), &total.to_string())?;
        self.file(&format!("{address}/sriov_numvfs"), "0")
    }

    /// Adds a VF to a PF.
    pub fn vf(&self, pf: &str, address: &str, driver: &str) -> Result<()> {
        self.function(address, driver)?;
        self.link(&format!("{address}/physfn"), &format!("../{pf}"))?;
        let count = fs::read_to_string(self.device(pf).join("sriov_numvfs"))?;
        let index: u16 = count.trim().parse()?;
        self.link(&format!("{pf}/virtfn{index}"), &format!("../{address}"))?;
        self.file(&format!("{pf}/sriov_numvfs"), &(index + 1).to_string())
    }

    /// Adds an entry to the CNI plugin's journal: an attachment of an existing VF in this boot.
    pub fn attachment(&self, pf: &str, vf: &str, phase: &str) -> Result<Value> {
        self.file("/proc/sys/kernel/random/boot_id", "b007")?;
        let inode = fs::metadata(self.device(vf))?.ino();
        Ok(json!({
            "version": 1, "phase": phase, "boot_id": "b007", "network": "n", "container_id": "c",
            "ifname": "net1", "netns": { "path": "/run/netns/p" },
            "device": vf, "incarnation": inode, "pf": pf, "vf": 0
        }))
    }

    /// Adds a subfunction `mlx5_core.sf.<id>` to a PF.
    pub fn subfunction(&self, pf: &str, id: u32, sfnum: u32) -> Result<()> {
        let name = format!("mlx5_core.sf.{id}");
        self.auxiliary(pf, &name, "mlx5_core.sf")?;
        self.file(&format!("{pf}/{name}/sfnum"), &sfnum.to_string())
    }

    /// Adds an auxiliary device with a driver to a PF.
    pub fn auxiliary(&self, pf: &str, name: &str, driver: &str) -> Result<()> {
        self.link(
            &format!("{pf}/{name}/driver"),
            &format!("../../../bus/auxiliary/drivers/{driver}"),
        )?;
        self.link(
            &format!("/sys/bus/auxiliary/devices/{name}"),
            &format!("../../pci/devices/{pf}/{name}"),
        )
    }

    /// Adds a network device with carrier to a device; `kind` is its `ARPHRD_*` number.
    pub fn netdev(&self, device: &str, name: &str, kind: &str) -> Result<()> {
        for (attribute, text) in [
            ("ifindex", "9"),
            ("type", kind),
            ("flags", "0x1003"),
            ("carrier", "1"),
        ] {
            self.file(&format!("{device}/net/{name}/{attribute}"), text)?;
        }
        Ok(())
    }

    /// Binds a function to a driver, instead of its present driver.
    pub fn bind(&self, address: &str, driver: &str) -> Result<()> {
        let _ = fs::remove_file(self.device(address).join("driver"));
        self.link(
            &format!("{address}/driver"),
            &format!("../../drivers/{driver}"),
        )
    }

    /// Removes a function.
    pub fn remove(&self, address: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.device(address))?)
    }

    /// Writes a file; a relative path is below the devices of the PCI bus.
    pub fn file(&self, path: &str, text: &str) -> Result<()> {
        let path = self.at(path)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Creates a link.
    pub fn link(&self, path: &str, target: &str) -> Result<()> {
        let path = self.at(path)?;
        symlink(target, &path).with_context(|| format!("cannot link {}", path.display()))
    }

    /// Creates a directory.
    pub fn dir(&self, path: &str) -> Result<()> {
        Ok(fs::create_dir_all(self.at(path)?)?)
    }

    fn at(&self, path: &str) -> Result<PathBuf> {
        let path = match path.strip_prefix('/') {
            Some(absolute) => self.0.join(absolute),
            None => self.device(path),
        };
        fs::create_dir_all(path.parent().context("a path without a directory")?)?;
        Ok(path)
    }
}
