//! The directory of device-info files: each is there whole or not at all.

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
    /// It could not be written.
    #[error("cannot write the device-info file `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be read.
    #[error("cannot read the device-info file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be removed.
    #[error("cannot remove the device-info file `{}`", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("the device-info file `{}` does not follow the specification", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl Store {
    /// Takes a directory, for instance `/var/run/k8s.cni.cncf.io/devinfo/dp`; it is made when something is written.
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

    /// The device in the name of a file, when it is one of the resource.
    pub fn id_in(file: &str, resource: &impl Display) -> Option<String> {
        let stem = format!("{resource}-").replace('/', "-");
        let id = file.strip_prefix(&stem)?.strip_suffix("-device.json")?;
        Some(id.to_owned())
    }

    /// Writes the file of a device: whoever reads it finds the old content or the new.
    ///
    /// # Errors
    /// [`StoreError::Write`]; nothing has changed then.
    pub fn write(path: &Path, info: &DeviceInfo) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec(info).map_err(|source| failed(source.into()))?;
        atomic::replace(path, &text, 0o444).map_err(failed)
    }

    /// Removes a file; one that is gone is success.
    pub fn remove(path: &Path) -> Result<(), StoreError> {
        atomic::remove(path).map_err(|source| StoreError::Remove {
            path: path.to_owned(),
            source,
        })
    }
}

/// Reads a device-info file; nothing when there is none.
///
/// # Errors
/// [`StoreError::Read`], and [`StoreError::Content`] when it holds something else.
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
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
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
    fn a_torn_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torn");
        fs::write(&path, "{\"type\":\"pci\"").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("torn"));
    }
}
