//! Why the state could not be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sriov_device_info::claims::InvalidPodUid;
use sriov_device_info::versioned::VersionedError;

/// The state of the claims could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(transparent)]
    File(#[from] VersionedError),
    #[error("the UID of the claim is unusable")]
    Uid(#[source] InvalidPodUid),
    #[error("cannot lock `{}`", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another call has held `{}` for {} s", path.display(), after.as_secs())]
    Busy { path: PathBuf, after: Duration },
}
