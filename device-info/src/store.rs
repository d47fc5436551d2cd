//! The directory of device-info files, which are replaced atomically.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::info::DeviceInfo;

/// A directory with device-info files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store(PathBuf);

/// A device-info file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be written.
    #[error("cannot write the device-info file `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read the device-info file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be removed.
    #[error("cannot remove the device-info file `{}`", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file does not follow the specification.
    #[error("the device-info file `{}` does not follow the specification", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
}

impl Store {
    /// Takes a directory, for instance `/var/run/k8s.cni.cncf.io/devinfo/dp`; it is created by the first write.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file of a device (specification, section 4.1): `<resource>-<device>-device.json`, with `-` for `/`.
    pub fn path_of_device(&self, resource: impl Display, device: impl Display) -> PathBuf {
        self.0
            .join(format!("{resource}-{device}-device.json").replace('/', "-"))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The device in a file name, if the file belongs to the resource.
    pub fn id_in(file: &str, resource: &impl Display) -> Option<String> {
        let stem = format!("{resource}-").replace('/', "-");
        let id = file.strip_prefix(&stem)?.strip_suffix("-device.json")?;
        Some(id.to_owned())
    }

    /// Writes the file of a device atomically.
    ///
    /// # Errors
    /// [`StoreError::Write`]; the file is unchanged then.
    pub fn write(path: &Path, info: &DeviceInfo) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec(info).map_err(|source| failed(source.into()))?;
        atomic::replace(path, &text, 0o444).map_err(failed)
    }

    /// Removes a file; a missing file counts as success.
    pub fn remove(path: &Path) -> Result<(), StoreError> {
        atomic::remove(path).map_err(|source| StoreError::Remove {
            path: path.to_owned(),
            source,
        })
    }
}

/// Reads a device-info file; `None` if it is missing.
///
/// # Errors
/// [`StoreError::Read`], and [`StoreError::Content`] when the file does not follow the specification.
pub fn read(path: &Path) -> Result<Option<DeviceInfo>, StoreError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StoreError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| StoreError::Content {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::Pci;

    fn info(address: &str) -> DeviceInfo {
        DeviceInfo::pci(Pci {
            pci_address: address.to_owned(),
            ..Pci::default()
        })
    }

    #[test]
    fn file_is_replaced_whole_without_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("dp"));
        let path = store.path_of_device("example.com/vf", "0000:01:10.0");
        assert_eq!(
            path.file_name().unwrap(),
            "example.com-vf-0000:01:10.0-device.json"
        );
        assert_eq!(
            Store::id_in("example.com-vf-0000:01:10.0-device.json", &"example.com/vf").as_deref(),
            Some("0000:01:10.0")
        );
        for address in ["0000:01:10.0", "0000:01:10.2"] {
            Store::write(&path, &info(address)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(info(address)));
        }
        Store::remove(&path).unwrap();
        Store::remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn torn_file_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torn");
        fs::write(&path, "{\"type\":\"pci\"").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("torn"));
    }
}
