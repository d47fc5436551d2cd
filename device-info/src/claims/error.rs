//! Why a hand-over file could not be used.

use std::io;
use std::path::PathBuf;

/// A hand-over file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
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
    #[error("`{}` is not the hand-over of a pod's claims", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// The file names another pod than its name.
    #[error("`{}` is the hand-over of pod `{uid}`", path.display())]
    OtherPod {
        /// The file.
        path: PathBuf,
        /// The pod in the file.
        uid: String,
    },
    /// A later version of the driver wrote the file.
    #[error("`{}` has version {version} of the format, which this program does not support: use the version of the program that wrote it", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}
