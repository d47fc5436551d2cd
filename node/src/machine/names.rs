//! The places of a constructed machine and its names: what becomes a part of a path, and the words of RDMA and network devices.

use std::path::{Path, PathBuf};

/// The states of an RDMA port in sysfs, by their number (drivers/infiniband/core/sysfs.c, `state_show`).
pub(super) const PORT_STATES: [&str; 6] =
    ["NOP", "DOWN", "INIT", "ARMED", "ACTIVE", "ACTIVE_DEFER"];

/// `ARPHRD_*` of the link types that have a word (`include/uapi/linux/if_arp.h`).
pub(super) const LINK_TYPES: [(&str, &str); 2] = [("ether", "1"), ("infiniband", "32")];

/// Whether a text can be one part of a path, so that a file from elsewhere writes nothing outside of its machine.
pub(super) fn is_path_part(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_control() && c != '/';
    !matches!(name, "" | "." | "..") && name.len() < 128 && name.chars().all(is_allowed)
}

/// The directory of a function below `sys/devices`; links of `sys/bus/pci/devices` point to it.
pub(super) fn function_dir(address: &str) -> PathBuf {
    let bus = address.rsplit_once(':').map_or(address, |(bus, _)| bus);
    Path::new("sys/devices")
        .join(format!("pci{bus}"))
        .join(address)
}

/// The target of a link at `from` to `to`, both below the root.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let ups = from.iter().skip(1).map(|_| Path::new(".."));
    ups.chain([to]).collect()
}
