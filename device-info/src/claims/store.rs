//! The directory of hand-over files: each is replaced atomically and synchronised with the disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ClaimsError;
use super::{FORMAT, PodClaims, PodUid};
use crate::atomic;

/// Most bytes of a file that are read: a claim has at most 32 devices.
const MOST: u64 = 4 << 20;

/// The directory of hand-over files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimStore(PathBuf);

/// A file with its version.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

impl ClaimStore {
    /// The hand-over files below the CNI plugin's state directory, for instance `/var/lib/cni/sriov`; the first write creates the directory.
    pub fn below(cni_dir: &Path) -> Self {
        Self(cni_dir.join("claims"))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a pod.
    pub fn path_of(&self, pod: &PodUid) -> PathBuf {
        self.0.join(format!("{pod}.json"))
    }

    /// Reads the file of a pod; `None` when the pod has no prepared claim.
    ///
    /// # Errors
    /// When the file exists and does not contain claims of this pod in a known version.
    pub fn read(&self, pod: &PodUid) -> Result<Option<PodClaims>, ClaimsError> {
        let path = self.path_of(pod);
        match read(&path)? {
            Some(claims) if claims.pod.uid != *pod => Err(ClaimsError::OtherPod {
                path,
                uid: claims.pod.uid.to_string(),
            }),
            claims => Ok(claims),
        }
    }

    /// Reads the files of all pods, each with its own result, sorted by name; a missing directory has none.
    ///
    /// # Errors
    /// When the directory exists and cannot be read.
    pub fn read_all(&self) -> Result<Vec<Result<PodClaims, ClaimsError>>, ClaimsError> {
        let failed = |source| ClaimsError::Read {
            path: self.0.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.0) {
            // Without the directory above there is none either.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Vec::new());
            }
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        let uids = names.iter().filter_map(|name| {
            let stem = name.to_str()?.strip_suffix(".json")?;
            stem.parse::<PodUid>().ok()
        });
        // A file that was removed in the meantime is not an entry.
        Ok(uids.filter_map(|uid| self.read(&uid).transpose()).collect())
    }

    /// Writes the file of a pod: mode 0600, durable when this returns.
    ///
    /// # Errors
    /// [`ClaimsError::Write`]; the file is unchanged then.
    pub fn write(&self, claims: &PodClaims) -> Result<(), ClaimsError> {
        let path = self.path_of(&claims.pod.uid);
        let file = Versioned {
            version: FORMAT,
            content: claims,
        };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|text| atomic::replace_durably(&path, &text, 0o600));
        written.map_err(|source| ClaimsError::Write { path, source })
    }

    /// Removes the file of a pod; a missing file counts as success.
    ///
    /// # Errors
    /// [`ClaimsError::Remove`].
    pub fn remove(&self, pod: &PodUid) -> Result<(), ClaimsError> {
        let path = self.path_of(pod);
        atomic::remove_durably(&path).map_err(|source| ClaimsError::Remove { path, source })
    }
}

fn read(path: &Path) -> Result<Option<PodClaims>, ClaimsError> {
    let failed = |source| ClaimsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(failed)?;
    decode(path, &text).map(Some)
}

fn decode(path: &Path, text: &[u8]) -> Result<PodClaims, ClaimsError> {
    let content = |source| ClaimsError::Content {
        path: path.to_owned(),
        source,
    };
    let value: Value = serde_json::from_slice(text).map_err(content)?;
    // The other keys of a later version may have another meaning.
    if let Some(version) = value.get("version").and_then(Value::as_u64)
        && version > FORMAT.into()
    {
        return Err(ClaimsError::Later {
            path: path.to_owned(),
            version,
        });
    }
    let file: Versioned<PodClaims> = serde_json::from_value(value).map_err(content)?;
    Ok(file.content)
}
