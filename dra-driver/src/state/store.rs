//! The files of the claims.

use std::path::Path;

use sriov_device_info::claims::PodUid;
use sriov_device_info::versioned::VersionedDir;

use super::error::StateError;
use super::{ClaimState, FORMAT};

/// The directory of the files.
#[derive(Clone, Debug)]
pub(crate) struct StateStore(VersionedDir);

impl StateStore {
    /// The files below the driver's directory, for instance `/var/lib/kubelet/plugins/sriov.virtfn.dev`.
    pub(crate) fn below(driver_dir: &Path) -> Self {
        Self(VersionedDir {
            path: driver_dir.join("claims"),
            format: FORMAT,
            what: "the state of a claim",
        })
    }

    /// The state of a claim; `None` when it is not prepared.
    ///
    /// # Errors
    /// When the file exists and is not the state of a claim in a known version.
    pub(crate) fn read(&self, uid: &str) -> Result<Option<ClaimState>, StateError> {
        Ok(self.0.read(&file_uid(uid)?)?)
    }

    /// All claims, sorted by UID, each with its own result.
    ///
    /// # Errors
    /// When the directory exists and cannot be read.
    pub(crate) fn read_all(&self) -> Result<Vec<Result<ClaimState, StateError>>, StateError> {
        let uids = self.0.uids()?;
        let read = |uid| self.0.read(uid).map_err(StateError::from).transpose();
        Ok(uids.iter().filter_map(read).collect())
    }

    /// Writes the state of a claim; it is durable when this returns.
    ///
    /// # Errors
    /// The file is unchanged then.
    pub(crate) fn write(&self, state: &ClaimState) -> Result<(), StateError> {
        Ok(self.0.write(&file_uid(&state.claim.uid)?, state)?)
    }

    /// Removes the state of a claim; a missing file counts as success.
    ///
    /// # Errors
    /// When the file could not be removed.
    pub(crate) fn remove(&self, uid: &str) -> Result<(), StateError> {
        Ok(self.0.remove(&file_uid(uid)?)?)
    }
}

/// The UID of a claim becomes a name by the rule for that of a pod.
fn file_uid(uid: &str) -> Result<PodUid, StateError> {
    uid.parse().map_err(StateError::Uid)
}
