//! The images of the version before, for the suite `upgrade`: no release came before this version, so its programs are built from the same sources.

use std::io::Write;

use anyhow::{Context, Result};

use crate::build::Dist;
use crate::checkout::VERSION;
use crate::oci;
use crate::qemu::Node;
use crate::ship;

/// The tag of these images.
pub const EARLIER: &str = "earlier";

/// Adds the images to the node. Each program has additional bytes at its end: the installer replaces a program only by a different one.
///
/// # Errors
/// If a program cannot be copied, or an image cannot be written.
pub(super) fn add(dist: &Dist, node: &mut Node) -> Result<()> {
    let mut earlier = dist.clone();
    for program in [&mut earlier.cni, &mut earlier.device_plugin] {
        let name = program.file_name().context("a program without a name")?;
        let copy = node.run_path(&format!("{}-{EARLIER}", name.to_string_lossy()));
        std::fs::copy(&*program, &copy)?;
        let mut file = std::fs::OpenOptions::new().append(true).open(&copy)?;
        file.write_all(EARLIER.as_bytes())?;
        *program = copy;
    }
    let mut images = ship::images(&[earlier]);
    for image in &mut images {
        image.name = image.name.replace(VERSION, EARLIER);
    }
    let tar = node.run_path("earlier.tar");
    oci::write(&images, &tar)?;
    node.add_file("lab/images/earlier.tar", &tar)
}
