//! The disk of the Kubernetes node: what its power does not take along.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::debian;
use crate::debian::first_of;
use crate::image::command_in;

/// Version of the parts in the cache.
const LAYOUT: &str = "disk-v1";

/// Size in bytes; the file takes what the node writes.
const SIZE: u64 = 4 << 30;

/// Makes an empty ext4 file system in a file.
///
/// # Errors
/// When Debian's tools cannot be had, or fail: then with what they say.
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
        bail!("cannot make the node's disk: {}", said.trim());
    }
    Ok(file.to_owned())
}
