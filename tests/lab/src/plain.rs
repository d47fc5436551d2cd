//! The plain node: the emulated machine with the two programs that ship, without Kubernetes.

use anyhow::Result;

use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::qemu::Node;
use crate::{build, debian};

/// Describes a node with the downloads and the binaries that ship, which every command needs.
pub fn prepare() -> Result<(Cache, Node)> {
    let cache = Cache::open()?;
    let parts = debian::node_parts(&cache)?;
    let binaries = build::dist(Architecture::Amd64)?;
    let mut node = Node::new(&cache, &parts)?;
    node.add_file("opt/cni/bin/sriov", &binaries.cni)?;
    node.add_file("opt/virtfn/sriov-device-plugin", &binaries.device_plugin)?;
    Ok((cache, node))
}
