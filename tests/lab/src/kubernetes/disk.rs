//! The disk of the Kubernetes node; its content survives a loss of power.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::debian;
use crate::debian::first_of;
use crate::image::command_in;

/// Version of the parts in the cache.
const LAYOUT: &str = "disk-v1";

/// Size in bytes; the file is sparse.
const SIZE: u64 = 4 << 30;

/// Creates an empty ext4 file system in a file.
///
/// # Errors
/// If Debian's tools cannot be downloaded, or fail; then with their messages.
pub(crate) fn make(cache: &Cache, file: &Path) -> Result<PathBuf> {
    let root = debian::packages(cache, LAYOUT, &["e2fsprogs"])?;
    std::fs::File::create(file)?.set_len(SIZE)?;
    let [loader, words @ ..] = &command_in(&root)?[..] else {
        bail!("no loader of programs");
    };
    let made = Command::new(loader)
        .args(words)
        .arg(first_of(&root, "sbin/mke2fs")?)
        .args(["-q", "-t", "ext4"])
        .arg(file)
        .env("MKE2FS_CONFIG", first_of(&root, "etc/mke2fs.conf")?)
        .output()
        .context("cannot start mke2fs")?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        bail!("cannot create the node's disk: {}", said.trim());
    }
    Ok(file.to_owned())
}
