//! Removes what a call that was killed left: temporary files, whose names no later write has, and `driver_override`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sriov_device_info::atomic;
use sriov_host::driver::DriverError;
use sriov_host::{PciAddress, chain, sysfs};

use super::paths::Paths;
use crate::state::ClaimState;

/// Removes the temporary files of [`atomic::replace`] for these files; one that stays is logged, as nobody reads it.
///
/// The caller has the lock, so no call writes one of the files. The upkeep of device-info files may: it tries again later.
pub(super) fn remove_leftovers(files: &[PathBuf]) {
    let mut dirs: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name()) {
            dirs.entry(dir).or_default().extend(name.to_str());
        }
    }
    for (dir, names) in dirs {
        // A directory that does not exist has none.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(replaced);
            if of.is_some_and(|of| names.contains(of)) {
                let path = entry.path();
                match atomic::remove(&path) {
                    Ok(()) => {
                        tracing::info!(path = %path.display(), "removed the temporary file of a call that was killed");
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), error = chain(&error), "cannot remove the temporary file");
                    }
                }
            }
        }
    }
}

/// Clears the `driver_override` with which a Prepare that was killed was about to bind the drivers of its claim.
///
/// # Errors
/// [`DriverError::Override`]: the file could not be written.
pub(super) fn clear_overrides(paths: &Paths, state: &ClaimState) -> Result<(), DriverError> {
    for device in &state.devices {
        let (Some(rebound), Ok(address)) = (&device.rebound, device.id.parse::<PciAddress>())
        else {
            continue;
        };
        let path = sysfs::device_path(&paths.host, address).join("driver_override");
        let is_left = fs::read_to_string(&path).is_ok_and(|text| text.trim() == rebound.bound);
        if is_left {
            // An empty line, as a write of nothing does not reach the driver core (`sysfs_kf_write`, fs/sysfs/file.c).
            fs::write(&path, "\n").map_err(|source| DriverError::Override { path, source })?;
            tracing::info!(device = %address, driver = rebound.bound, "cleared the driver override of a call that was killed");
        }
    }
    Ok(())
}

/// The file that a temporary file `.NAME.PID-NUMBER` was to replace.
fn replaced(temporary: &str) -> Option<&str> {
    let (name, suffix) = temporary.strip_prefix('.')?.rsplit_once('.')?;
    let (pid, number) = suffix.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(pid) && is_number(number)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_files_of_the_named_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let leftovers = [".a.json.17-4", ".a.json.1-0"];
        // `.new` is the name that the CNI plugin uses.
        let others = [
            "a.json",
            ".b.json.17-4",
            ".a.json.new",
            ".a.json.17-",
            ".a.json",
        ];
        for name in leftovers.iter().chain(&others) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_leftovers(&["a.json", "missing/a.json"].map(|name| dir.path().join(name)));
        for name in others {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others.len());
    }
}
