//! A directory of JSON files with a version, one for each UID: each is replaced atomically and synchronised with the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic;
use crate::private_dir;
use crate::uid::PodUid;

/// Most bytes of a file that are read: a claim has at most 32 devices.
const MOST: u64 = 4 << 20;

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedDir {
    /// Its path; the first write creates it.
    pub path: PathBuf,
    /// Version of the format that is written; files of later versions are refused.
    pub format: u32,
    /// What a file is, for error messages: `the state of a claim`.
    pub what: &'static str,
}

/// A file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum VersionedError {
    /// A file, or the directory, could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be written; it is unchanged.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file could not be removed.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is torn or contains something else.
    #[error("`{}` is not {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// A later version of the program wrote the file.
    #[error("`{}` has version {version} of the format, which this program does not support: use the version of the program that wrote it", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

/// A file with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

impl VersionedDir {
    /// The file of a UID.
    pub fn path_of(&self, uid: &PodUid) -> PathBuf {
        self.path.join(format!("{uid}.json"))
    }

    /// Reads the file of a UID; `None` when there is none.
    ///
    /// # Errors
    /// When the file exists and is not one of a known version.
    pub fn read<T: DeserializeOwned>(&self, uid: &PodUid) -> Result<Option<T>, VersionedError> {
        let path = self.path_of(uid);
        let failed = |source| VersionedError::Read {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).map_err(failed)?;
        self.decode(&path, &text).map(Some)
    }

    /// The UIDs of all files, sorted; a directory that is missing, or that its owner may not enter ([`private_dir`]), has none.
    ///
    /// # Errors
    /// When the directory exists and cannot be read.
    pub fn uids(&self) -> Result<Vec<PodUid>, VersionedError> {
        let failed = |source| VersionedError::Read {
            path: self.path.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.path) {
            // Without the directory above there is none either.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_shut() => {
                return Ok(Vec::new());
            }
            other => other.map_err(failed)?,
        };
        let mut uids = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
            uids.extend(stem.and_then(|stem| stem.parse::<PodUid>().ok()));
        }
        uids.sort();
        Ok(uids)
    }

    /// Whether its owner may not enter the directory, or the one above: there is no file then.
    fn is_shut(&self) -> bool {
        let mut dirs = self.path.ancestors().take(2);
        dirs.any(private_dir::is_shut)
    }

    /// Writes the file of a UID: mode 0600, durable when this returns.
    ///
    /// # Errors
    /// [`VersionedError::Write`]; the file is unchanged then.
    pub fn write<T: Serialize>(&self, uid: &PodUid, content: &T) -> Result<(), VersionedError> {
        let path = self.path_of(uid);
        let file = Versioned {
            version: self.format,
            content,
        };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|text| atomic::replace_durably(&path, &text, 0o600));
        written.map_err(|source| VersionedError::Write { path, source })
    }

    /// Removes the file of a UID; a missing file counts as success.
    ///
    /// # Errors
    /// [`VersionedError::Remove`].
    pub fn remove(&self, uid: &PodUid) -> Result<(), VersionedError> {
        let path = self.path_of(uid);
        atomic::remove_durably(&path).map_err(|source| VersionedError::Remove { path, source })
    }

    fn decode<T: DeserializeOwned>(&self, path: &Path, text: &[u8]) -> Result<T, VersionedError> {
        let content = |source| VersionedError::Content {
            path: path.to_owned(),
            what: self.what,
            source,
        };
        let value: Value = serde_json::from_slice(text).map_err(content)?;
        // The other keys of a later version may have another meaning.
        if let Some(version) = value.get("version").and_then(Value::as_u64)
            && version > self.format.into()
        {
            return Err(VersionedError::Later {
                path: path.to_owned(),
                version,
            });
        }
        let file: Versioned<T> = serde_json::from_value(value).map_err(content)?;
        Ok(file.content)
    }
}
