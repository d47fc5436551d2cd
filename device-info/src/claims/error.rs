//! Why a hand-over file could not be used.

use std::path::PathBuf;

use crate::versioned::VersionedError;

/// A hand-over file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The file cannot be read or written, or is not a hand-over of a known version.
    #[error(transparent)]
    File(#[from] VersionedError),
    /// The file names another pod than its name.
    #[error("`{}` is the hand-over of pod `{uid}`", path.display())]
    OtherPod {
        /// The file.
        path: PathBuf,
        /// The pod in the file.
        uid: String,
    },
}
