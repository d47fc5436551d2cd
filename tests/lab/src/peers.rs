//! The Go plugins that ours replace, built unmodified from the Go modules that `tests/lab/tools/peer-*` pins; nothing of them is in this repository.
//!
//! The device plugin is of November 2022, the CNI plugin version 2.1.0 of 2019: the newest that the module proxy is known to have.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::debian;
use crate::debian::first_of;
use crate::go;

/// Version of the PCI names in the cache.
const NAMES_LAYOUT: &str = "pci-ids-v1";

/// Where the Go CNI plugin is on the node.
pub const PEER_BIN: &str = "/opt/peer/bin";
/// Where the Go device plugin is on the node.
pub const PEER_DEVICE_PLUGIN: &str = "/opt/peer/sriov-device-plugin";

/// Where the Go device plugin looks for the names of PCI devices, without which it ends.
pub const PCI_IDS: &str = "usr/share/misc/pci.ids";

/// The programs.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `sriov-cni`.
    pub cni: PathBuf,
    /// `sriov-network-device-plugin`.
    pub device_plugin: PathBuf,
}

/// The programs, built when the cache does not have those of the pinned versions.
///
/// # Errors
/// One sentence when Go is missing; else Go's own messages.
pub fn peers(cache: &Cache) -> Result<Peers> {
    let device_plugin = go::module(cache, "peer-device-plugin", "the Go device plugin")?;
    Ok(Peers {
        cni: go::module(cache, "peer-cni", "the Go CNI plugin")?.join("sriov"),
        device_plugin: device_plugin.join("sriovdp"),
    })
}

/// The names of PCI devices, of the Debian release, as the Go device plugin's image has them.
///
/// # Errors
/// When they cannot be downloaded.
pub fn pci_ids(cache: &Cache) -> Result<PathBuf> {
    let root = debian::packages(cache, NAMES_LAYOUT, &["pci.ids"])?;
    first_of(&root, PCI_IDS)
}
