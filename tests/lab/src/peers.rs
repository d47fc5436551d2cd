//! Builds the Go plugins, unmodified, from the Go modules that `tests/lab/tools/peer-*` pins; none of their code is in this repository.
//!
//! The device plugin is of November 2022, the CNI plugin is version 2.1.0 of 2019: the newest versions that the module proxy has.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;
use crate::debian;
use crate::debian::first_of;
use crate::go;

/// Version of the PCI names in the cache.
const NAMES_LAYOUT: &str = "pci-ids-v1";

/// Directory of the Go CNI plugin on the node.
pub const PEER_BIN: &str = "/opt/peer/bin";
/// Path of the Go device plugin on the node.
pub const PEER_DEVICE_PLUGIN: &str = "/opt/peer/sriov-device-plugin";

/// Path of the names of PCI devices; the Go device plugin exits without this file.
pub const PCI_IDS: &str = "usr/share/misc/pci.ids";

/// The CNI plugin, built if the cache does not have the pinned version.
///
/// # Errors
/// One sentence if Go is missing; otherwise Go's own messages.
pub fn cni(cache: &Cache) -> Result<PathBuf> {
    Ok(go::module(cache, "peer-cni", "the Go CNI plugin")?.join("sriov"))
}

/// The device plugin, built if the cache does not have the pinned version.
///
/// # Errors
/// As for [`cni`].
pub fn device_plugin(cache: &Cache) -> Result<PathBuf> {
    Ok(go::module(cache, "peer-device-plugin", "the Go device plugin")?.join("sriovdp"))
}

/// The names of PCI devices of the Debian release; the image of the Go device plugin contains the same file.
///
/// # Errors
/// When they cannot be downloaded.
pub fn pci_ids(cache: &Cache) -> Result<PathBuf> {
    let root = debian::packages(cache, NAMES_LAYOUT, &["pci.ids"])?;
    first_of(&root, PCI_IDS)
}
