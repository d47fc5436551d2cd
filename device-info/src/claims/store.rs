//! The directory of hand-over files.

use std::path::{Path, PathBuf};

use super::error::ClaimsError;
use super::{FORMAT, PodClaims};
use crate::uid::PodUid;
use crate::versioned::VersionedDir;

/// The directory of hand-over files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimStore(VersionedDir);

impl ClaimStore {
    /// The hand-over files below the CNI plugin's state directory, for instance `/var/lib/cni/sriov`; the first write creates the directory.
    pub fn below(cni_dir: &Path) -> Self {
        Self(VersionedDir {
            path: cni_dir.join("claims"),
            format: FORMAT,
            what: "the hand-over of a pod's claims",
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The file of a pod.
    pub fn path_of(&self, pod: &PodUid) -> PathBuf {
        self.0.path_of(pod)
    }

    /// Reads the file of a pod; `None` when the pod has no prepared claim.
    ///
    /// # Errors
    /// When the file exists and does not contain claims of this pod in a known version.
    pub fn read(&self, pod: &PodUid) -> Result<Option<PodClaims>, ClaimsError> {
        match self.0.read::<PodClaims>(pod)? {
            Some(claims) if claims.pod.uid != *pod => Err(ClaimsError::OtherPod {
                path: self.path_of(pod),
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
        let uids = self.0.uids()?;
        // A file that was removed in the meantime is not an entry.
        let read = |uid| self.read(uid).transpose();
        Ok(uids.iter().filter_map(read).collect())
    }

    /// Writes the file of a pod: mode 0600, durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written; the file is unchanged then.
    pub fn write(&self, claims: &PodClaims) -> Result<(), ClaimsError> {
        Ok(self.0.write(&claims.pod.uid, claims)?)
    }

    /// Removes the file of a pod; a missing file counts as success.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, pod: &PodUid) -> Result<(), ClaimsError> {
        Ok(self.0.remove(pod)?)
    }
}
