//! Kernel modules that only some suites need: the lab adds them to the node, a suite loads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Loads the modules of a group, in the lab's order; loaded modules stay loaded.
///
/// # Errors
/// If the lab added none of them to the node, or the kernel refuses one.
pub fn load(group: &str) -> Result<()> {
    let dir = Path::new("/lab/modules").join(group);
    let entries = std::fs::read_dir(&dir).with_context(|| format!("no {}", dir.display()))?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for module in modules {
        if !is_loaded(&module) {
            insert(&module)?;
        }
    }
    Ok(())
}

/// Whether a module is in the kernel: files are called `NN-NAME.ko`, and the kernel has `_` for each `-`.
fn is_loaded(module: &Path) -> bool {
    let stem = module.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.split_once('-').map_or(&*stem, |(_, name)| name);
    Path::new("/sys/module")
        .join(name.replace('-', "_"))
        .exists()
}

fn insert(module: &Path) -> Result<()> {
    let output = Command::new("/bin/busybox")
        .arg("insmod")
        .arg(module)
        .output()
        .context("cannot start insmod")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{} does not load: {}", module.display(), text.trim());
    }
    Ok(())
}
