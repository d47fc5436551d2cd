//! The files of the claims, each replaced atomically and synchronised.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sriov_device_info::atomic;
use sriov_device_info::claims::PodUid;

use super::error::StateError;
use super::{ClaimState, FORMAT};

/// The directory of the files.
#[derive(Clone, Debug)]
pub(crate) struct StateStore(PathBuf);

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

impl StateStore {
    /// The files below the driver's directory, for instance `/var/lib/kubelet/plugins/sriov.virtfn.dev`.
    pub(crate) fn below(driver_dir: &Path) -> Self {
        Self(driver_dir.join("claims"))
    }

    /// The file of a claim; its UID becomes a name by the rule for that of a pod.
    fn path_of(&self, uid: &str) -> Result<PathBuf, StateError> {
        let uid: PodUid = uid.parse().map_err(StateError::Uid)?;
        Ok(self.0.join(format!("{uid}.json")))
    }

    /// The state of a claim; `None` when it is not prepared.
    ///
    /// # Errors
    /// When the file exists and is not the state of a claim in a known version.
    pub(crate) fn read(&self, uid: &str) -> Result<Option<ClaimState>, StateError> {
        read(&self.path_of(uid)?)
    }

    /// All claims, sorted by UID, each with its own result.
    ///
    /// # Errors
    /// When the directory exists and cannot be read.
    pub(crate) fn read_all(&self) -> Result<Vec<Result<ClaimState, StateError>>, StateError> {
        let failed = |source| StateError::Read {
            path: self.0.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with('.') && name.ends_with(".json") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths
            .iter()
            .filter_map(|path| read(path).transpose())
            .collect())
    }

    /// Writes the state of a claim; it is durable when this returns.
    ///
    /// # Errors
    /// The file is unchanged then.
    pub(crate) fn write(&self, state: &ClaimState) -> Result<(), StateError> {
        let path = self.path_of(&state.claim.uid)?;
        let file = Versioned {
            version: FORMAT,
            content: state,
        };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|text| atomic::replace_durably(&path, &text, 0o600));
        written.map_err(|source| StateError::Write { path, source })
    }

    /// Removes the state of a claim; a missing file counts as success.
    ///
    /// # Errors
    /// When the file could not be removed.
    pub(crate) fn remove(&self, uid: &str) -> Result<(), StateError> {
        let path = self.path_of(uid)?;
        atomic::remove_durably(&path).map_err(|source| StateError::Write { path, source })
    }
}

fn read(path: &Path) -> Result<Option<ClaimState>, StateError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| StateError::Read {
            path: path.to_owned(),
            source,
        })?,
    };
    let content = |source| StateError::Content {
        path: path.to_owned(),
        source,
    };
    let value: Value = serde_json::from_slice(&text).map_err(content)?;
    if let Some(version) = value.get("version").and_then(Value::as_u64)
        && version > FORMAT.into()
    {
        return Err(StateError::Later {
            path: path.to_owned(),
            version,
        });
    }
    let file: Versioned<ClaimState> = serde_json::from_value(value).map_err(content)?;
    Ok(Some(file.content))
}
