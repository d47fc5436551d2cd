//! What a real kernel answers to queries, as files of a constructed machine: such a machine has no kernel.

use std::fs;

use sriov_host::{HostRoot, PciAddress};

/// Lines with the name of a network device and one of its alternative names.
pub(crate) const ALTNAMES: &str = "kernel/altnames";
/// Lines with the address of a function and the DDP profile that it runs.
pub(crate) const DDP_PROFILES: &str = "kernel/ddp_profiles";
/// Lines with the parent of a macvlan or ipvlan device, and that device.
pub(crate) const SHARED_PARENTS: &str = "kernel/shared_parents";

/// The name of the network device that has an alternative name.
pub(super) fn link_named(host: &HostRoot, altname: &str) -> Option<String> {
    let mut pairs = pairs(host, ALTNAMES).into_iter();
    let found = pairs.find(|(_, other)| other == altname);
    found.map(|(name, _)| name)
}

/// The DDP profile of a function.
pub(crate) fn ddp_profile(host: &HostRoot, function: PciAddress) -> Option<String> {
    let function = function.to_string();
    let mut pairs = pairs(host, DDP_PROFILES).into_iter();
    let found = pairs.find(|(address, _)| *address == function);
    found.map(|(_, profile)| profile)
}

/// The lines of a file, each split at its first blank.
pub(crate) fn pairs(host: &HostRoot, path: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(host.join(path)).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    pairs.collect()
}
