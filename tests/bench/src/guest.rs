//! The part of the bench that runs on the node.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use sriov_lab::peers::{PEER_BIN, PEER_DEVICE_PLUGIN};

use crate::options::PORTS;
use crate::program::Program;
use crate::{cni, counts, node};

/// Measures one part on the node, and prints one figure per line.
pub fn measure(part: &str) -> Result<()> {
    let bins = there(sriov_testkit::cni::BIN, PEER_BIN);
    let programs = bins.iter().map(|bin| Program::of(bin));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    match part {
        "cni" => cni::measure(&programs),
        "counts" => counts::measure(&programs),
        "node" => node::measure(&programs, &device_plugins(), 2, true),
        "ports" => node::measure(&programs, &device_plugins(), PORTS, false),
        other => bail!("`{other}` is not a part that runs on the node"),
    }
}

fn device_plugins() -> Vec<PathBuf> {
    there("/opt/virtfn/sriov-device-plugin", PEER_DEVICE_PLUGIN)
}

/// The path of our program, and the peer's if it exists.
fn there(ours: &str, peer: &str) -> Vec<PathBuf> {
    let peer = Path::new(peer);
    let peer = peer.exists().then(|| peer.to_owned());
    [PathBuf::from(ours)].into_iter().chain(peer).collect()
}
