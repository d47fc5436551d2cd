//! Why the state could not be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sriov_device_info::claims::InvalidPodUid;

/// The state of the claims could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is not the state of a claim", path.display())]
    Content {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("`{}` has version {version} of the format, which this program does not support: use the version of the program that wrote it", path.display())]
    Later { path: PathBuf, version: u64 },
    #[error("the UID of the claim is unusable")]
    Uid(#[source] InvalidPodUid),
    #[error("cannot lock `{}`", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another call has held `{}` for {} s", path.display(), after.as_secs())]
    Busy { path: PathBuf, after: Duration },
}
