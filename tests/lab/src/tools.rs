//! Programs of this machine, and those that cargo installs once, into the cache: cargo-deny and cargo-cyclonedx.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::checkout::cargo;
use crate::progress;

/// The program of this machine, or else one that is built into the cache.
///
/// # Errors
/// If cargo cannot install it.
pub(crate) fn cargo_tool(cache: &Cache, name: &str) -> Result<PathBuf> {
    if let Some(found) = find(name) {
        return Ok(found);
    }
    let own = cache.path("tools/bin").join(name);
    if own.exists() {
        return Ok(own);
    }
    let installed = progress::step(&format!("building {name}, once (some minutes)"), || {
        cargo()
            .args(["install", "--quiet", "--locked", name, "--root"])
            .arg(cache.path("tools"))
            .status()
    });
    if !installed.context("cannot start cargo")?.success() {
        bail!("cannot install {name}: its messages are above");
    }
    Ok(own)
}

/// PATH with the directory of a program in front.
pub(crate) fn path_with(program: &Path) -> Result<OsString> {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let first = program.parent().context("a program without a directory")?;
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&before));
    Ok(std::env::join_paths(all)?)
}

/// Whether a program is on this machine.
pub(crate) fn has(name: &str) -> bool {
    find(name).is_some()
}

/// The program of this name on PATH, or in the directories that the PATH of some users lacks.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from));
    let mut files = dirs.into_iter().map(|dir| dir.join(name));
    files.find(|file| file.is_file())
}
