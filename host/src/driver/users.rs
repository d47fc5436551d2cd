//! Processes that use a function through vfio.
//!
//! Unbinding such a function does not fail: the kernel waits, and no signal ends the wait
//! (`vfio_unregister_group_dev`, `drivers/vfio/vfio_main.c`). A thread of the caller would wait as well, and so keep its process from ending.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::pci::PciAddress;
use crate::root::HostRoot;
use crate::sysfs::device_path;

/// A process that has a vfio device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUser {
    /// Its id.
    pub pid: u32,
    /// Name of its program; empty if it cannot be read.
    pub name: String,
    /// The open device, for instance `/dev/vfio/7`.
    pub node: PathBuf,
}

impl fmt::Display for DeviceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, node } = self;
        write!(f, "process {pid} (`{name}`) has `{}` open", node.display())
    }
}

/// The first process that has the function or its IOMMU group open.
pub(super) fn user(root: &HostRoot, device: PciAddress) -> Option<DeviceUser> {
    let nodes = nodes(root, device);
    let processes = fs::read_dir(root.join("proc")).ok()?.flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .find_map(|pid| user_of(root, pid, &nodes))
}

fn user_of(root: &HostRoot, pid: u32, nodes: &[PathBuf]) -> Option<DeviceUser> {
    let process = root.join(format!("proc/{pid}"));
    let files = fs::read_dir(process.join("fd")).ok()?.flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    let node = targets.find(|target| nodes.contains(target))?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(DeviceUser {
        pid,
        name: name.trim().to_owned(),
        node,
    })
}

/// The device nodes of the function; without an IOMMU the group has the prefix `noiommu-`.
fn nodes(root: &HostRoot, device: PciAddress) -> Vec<PathBuf> {
    let path = device_path(root, device);
    let dir = PathBuf::from("/dev/vfio");
    let group = fs::read_link(path.join("iommu_group")).ok();
    let group = group.and_then(|group| Some(group.file_name()?.to_str()?.to_owned()));
    let groups = group
        .iter()
        .flat_map(|group| [group.clone(), format!("noiommu-{group}")].map(|name| dir.join(name)));
    let own = fs::read_dir(path.join("vfio-dev")).into_iter().flatten();
    let own = own
        .flatten()
        .map(|own| dir.join("devices").join(own.file_name()));
    groups.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn process_with_the_group_or_the_device_open_is_found() {
        let device: PciAddress = "0000:01:10.0".parse().unwrap();
        for (open, is_user) in [
            ("/dev/vfio/7", true),
            ("/dev/vfio/noiommu-7", true),
            ("/dev/vfio/devices/vfio3", true),
            ("/dev/vfio/77", false),
            ("/dev/vfio/vfio", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = HostRoot::new(dir.path());
            let path = device_path(&root, device);
            fs::create_dir_all(path.join("vfio-dev/vfio3")).unwrap();
            symlink("../../kernel/iommu_groups/7", path.join("iommu_group")).unwrap();
            for (pid, target) in [("11", "/dev/null"), ("12", open), ("self", open)] {
                let fds = root.join("proc").join(pid).join("fd");
                fs::create_dir_all(&fds).unwrap();
                symlink(target, fds.join("4")).unwrap();
            }
            fs::write(root.join("proc/12/comm"), "testpmd\n").unwrap();
            let expected = format!("process 12 (`testpmd`) has `{open}` open");
            let found = user(&root, device).map(|user| user.to_string());
            assert_eq!(found, is_user.then_some(expected));
        }
    }
}
