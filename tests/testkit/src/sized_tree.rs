//! Constructed machines of any size: PFs with VFs in a sysfs tree, for counts beyond the emulated NIC.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// PFs and VFs of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of PFs.
    pub pfs: usize,
    /// Number of VFs of each PF.
    pub vfs: usize,
}

impl Size {
    /// Number of VFs of all PFs.
    pub fn functions(self) -> usize {
        self.pfs * self.vfs
    }
}

/// Writes a machine below `root`: PF `i` is `pf<i>` at `<i+1>:01:00.0`, its VFs are bound to `igbvf` and have network devices.
pub fn build(root: &Path, size: Size) -> Result<()> {
    for pf in 0..size.pfs {
        let address = format!("{:04x}:01:00.0", pf + 1);
        let dir = function(root, &address, "0x10c9")?;
        for (attribute, value) in [
            ("sriov_totalvfs", size.vfs.to_string()),
            ("sriov_numvfs", size.vfs.to_string()),
            ("sriov_offset", "8".to_owned()),
            ("sriov_stride", "1".to_owned()),
        ] {
            fs::write(dir.join(attribute), format!("{value}\n"))?;
        }
        symlink("../../drivers/igb", dir.join("driver"))?;
        netdev(&dir, &format!("pf{pf}"), pf + 1)?;
        for vf in 0..size.vfs {
            add_vf(root, size, pf, vf)?;
        }
    }
    Ok(())
}

fn add_vf(root: &Path, size: Size, pf: usize, vf: usize) -> Result<()> {
    vf_function(root, size, pf, vf)?;
    let address = vf_address(pf, vf);
    let pf_dir = root.join(format!("sys/bus/pci/devices/{:04x}:01:00.0", pf + 1));
    symlink(format!("../{address}"), pf_dir.join(format!("virtfn{vf}")))?;
    Ok(())
}

/// Unbinds the driver of one VF.
pub fn unbind_vf(root: &Path, pf: usize, vf: usize) -> Result<()> {
    Ok(fs::remove_file(driver_link(root, pf, vf))?)
}

/// Binds the driver of a VF again.
pub fn bind_vf(root: &Path, pf: usize, vf: usize) -> Result<()> {
    Ok(symlink("../../drivers/igbvf", driver_link(root, pf, vf))?)
}

fn driver_link(root: &Path, pf: usize, vf: usize) -> PathBuf {
    let devices = root.join("sys/bus/pci/devices");
    devices.join(vf_address(pf, vf)).join("driver")
}

/// Removes the network devices of all VFs, as if they were in pods.
pub fn give_netdevs_away(root: &Path, size: Size) -> Result<()> {
    for pf in 0..size.pfs {
        for vf in 0..size.vfs {
            let devices = root.join("sys/bus/pci/devices");
            fs::remove_dir_all(devices.join(vf_address(pf, vf)).join("net"))?;
        }
    }
    Ok(())
}

/// Names and indices of the network devices of all VFs.
pub fn vf_netdevs(size: Size) -> impl Iterator<Item = (String, usize)> {
    let vfs = (0..size.pfs).flat_map(move |pf| (0..size.vfs).map(move |vf| (pf, vf)));
    vfs.map(move |(pf, vf)| (netdev_name(size, pf, vf), netdev_index(size, pf, vf)))
}

/// A configuration that assigns each VF to exactly one resource: each resource has a range of the VFs of each PF.
pub fn resource_list(size: Size, resources: usize) -> String {
    let per_resource = size.functions().div_ceil(resources);
    let list: Vec<_> = (0..resources)
        .map(|resource| {
            let first = resource * per_resource;
            let last = ((resource + 1) * per_resource).min(size.functions()) - 1;
            let names: Vec<String> = (first / size.vfs..=last / size.vfs)
                .map(|pf| {
                    let from = first.max(pf * size.vfs) - pf * size.vfs;
                    let to = last.min((pf + 1) * size.vfs - 1) - pf * size.vfs;
                    format!("pf{pf}#{from}-{to}")
                })
                .collect();
            json!({ "resourceName": format!("r{resource}"), "selectors": { "pfNames": names } })
        })
        .collect();
    json!({ "resourceList": list }).to_string()
}

/// A configuration with all VFs in one resource of a front end: `dra` or `devicePlugin`.
pub fn published_list(size: Size, publish: &str) -> Result<String> {
    let mut list: Value = serde_json::from_str(&resource_list(size, 1))?;
    let resource = list.pointer_mut("/resourceList/0");
    let resource = resource.and_then(Value::as_object_mut);
    let resource = resource.context("no resource")?;
    resource.insert("publish".to_owned(), json!(publish));
    Ok(list.to_string())
}

fn vf_function(root: &Path, size: Size, pf: usize, vf: usize) -> Result<()> {
    let dir = function(root, &vf_address(pf, vf), "0x10ca")?;
    bind_vf(root, pf, vf)?;
    symlink(format!("../{:04x}:01:00.0", pf + 1), dir.join("physfn"))?;
    netdev(&dir, &netdev_name(size, pf, vf), netdev_index(size, pf, vf))
}

fn netdev_name(size: Size, pf: usize, vf: usize) -> String {
    format!("v{}", netdev_index(size, pf, vf))
}

fn netdev_index(size: Size, pf: usize, vf: usize) -> usize {
    10_000 + pf * size.vfs + vf
}

fn vf_address(pf: usize, vf: usize) -> String {
    // Routing ids follow the PF's by offset 8 and stride 1.
    let id = vf + 8;
    format!(
        "{:04x}:{:02x}:{:02x}.{}",
        pf + 1,
        1 + id / 256,
        id / 8 % 32,
        id % 8
    )
}

fn function(root: &Path, address: &str, device: &str) -> Result<PathBuf> {
    let dir = root.join("sys/bus/pci/devices").join(address);
    fs::create_dir_all(&dir)?;
    let id = device.trim_start_matches("0x").to_uppercase();
    let alias = format!("pci:v00008086d0000{id}sv00008086sd00000000bc02sc00i00");
    for (attribute, value) in [
        ("vendor", "0x8086"),
        ("device", device),
        ("class", "0x020000"),
        ("modalias", &alias),
        ("numa_node", "0"),
    ] {
        fs::write(dir.join(attribute), format!("{value}\n"))?;
    }
    Ok(dir)
}

fn netdev(dir: &Path, name: &str, index: usize) -> Result<()> {
    let net = dir.join("net").join(name);
    fs::create_dir_all(&net)?;
    for (attribute, value) in [
        ("ifindex", index.to_string()),
        ("type", "1".to_owned()),
        ("flags", "0x1003".to_owned()),
        ("carrier", "1".to_owned()),
        ("operstate", "up".to_owned()),
    ] {
        fs::write(net.join(attribute), format!("{value}\n"))?;
    }
    Ok(())
}
