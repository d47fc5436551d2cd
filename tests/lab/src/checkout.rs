//! The checkout: its root, its version, its target directory, and the cargo that works in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// All packages of the workspace have one version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The root of the checkout.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
}

/// The cargo that runs the lab, with the checkout as its directory.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// The directory in which cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Copies the files that git tracks or would add, with their content in the checkout.
///
/// # Errors
/// If this is not a checkout of git, or a file cannot be copied.
pub fn copy_sources(to: &Path) -> Result<()> {
    let list = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(workspace())
        .output()
        .context("cannot start git")?;
    if !list.status.success() {
        bail!("{} is not a checkout of git", workspace().display());
    }
    for name in String::from_utf8(list.stdout)?.split_terminator('\0') {
        let (from, to) = (workspace().join(name), to.join(name));
        std::fs::create_dir_all(to.parent().context("a file without a directory")?)?;
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
