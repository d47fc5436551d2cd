//! Paths in the state directory; nothing is read or written here.

use std::path::{Path, PathBuf};

use sriov_host::{IfName, PciAddress};

/// The state directory, for instance `/var/lib/cni/sriov`.
#[derive(Clone, Debug)]
pub(super) struct StateDir(pub(super) PathBuf);

impl StateDir {
    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Directory of attachments whose VF is free again and whose addresses IPAM did not release yet.
    pub(super) fn owed(&self) -> PathBuf {
        self.0.join("owed")
    }

    /// The journal file of a VF.
    pub(super) fn entry(&self, device: PciAddress) -> PathBuf {
        self.0.join(format!("{device}.json"))
    }

    /// The file by which either plugin holds a VF; it has the path of the pod's network namespace.
    pub(super) fn allocation(&self, device: PciAddress) -> PathBuf {
        self.0.join("pci").join(device.to_string())
    }

    /// Directory of the locks.
    pub(super) fn locks(&self) -> PathBuf {
        self.0.join("pci/vf_lock")
    }

    /// The Go plugin's state of an attachment. Both parts are checked identifiers or interface names, so that the file is in the directory.
    pub(super) fn go_state(&self, container_id: &str, ifname: &IfName) -> PathBuf {
        self.0.join(format!("{container_id}-{ifname}"))
    }
}
