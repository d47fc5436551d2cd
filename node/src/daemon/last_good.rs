//! The last good configuration on disk: a restart after a typing error must not serve less than the process did before.
//!
//! The file is a resource list like the configuration itself, next to the device-info files, which have the same life: until a reboot.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sriov_config::ResourceList;
use sriov_device_info::atomic;

use sriov_host::stable_hash::stable_hash;

/// The values of `additionalInfo` may be secrets.
const MODE: u32 = 0o600;

/// The copy of a configuration file.
#[derive(Clone, Debug)]
pub(super) struct LastGood(PathBuf);

impl LastGood {
    /// The copy of this file; plugins with other files have other copies.
    pub(super) fn of(config_file: &Path, devinfo_dir: &Path) -> Self {
        let hash = stable_hash(config_file.as_os_str().as_bytes());
        Self(devinfo_dir.join(format!(".last-good-{hash:016x}.json")))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the copy; absent when there is none, or it has a mistake by the rules of this version.
    pub(super) fn read(&self, resource_prefix: &str) -> Option<ResourceList> {
        let text = fs::read_to_string(&self.0).ok()?;
        let list = ResourceList::parse(&text, resource_prefix).ok()?;
        list.unusable.is_empty().then_some(list)
    }

    /// Saves a configuration that has no mistake.
    ///
    /// # Errors
    /// When the file cannot be written; the plugin works without it.
    pub(super) fn save(&self, text: &str) -> io::Result<()> {
        if fs::read(&self.0).is_ok_and(|saved| saved == text.as_bytes()) {
            return Ok(());
        }
        atomic::replace(&self.0, text.as_bytes(), MODE)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str =
        r#"{"resourceList": [{"resourceName": "a", "selectors": {"drivers": ["x"]}}]}"#;

    #[test]
    fn copy_is_read_while_it_has_no_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let saved = LastGood::of(Path::new("/etc/pcidp/config.json"), dir.path());
        assert!(saved.path().ends_with(".last-good-1f9211331a985f8a.json"));
        assert!(saved.read("x.y").is_none());
        saved.save(GOOD).unwrap();
        assert_eq!(saved.read("x.y").unwrap().resources.len(), 1);
        let mode = fs::metadata(saved.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        saved
            .save(r#"{"resourceList": [{"resourceName": "a"}]}"#)
            .unwrap();
        assert!(saved.read("x.y").is_none());
        let other = LastGood::of(Path::new("/etc/other.json"), dir.path());
        assert_ne!(other.path(), saved.path());
    }
}
