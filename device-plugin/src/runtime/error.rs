//! Why the daemon could not start.

use std::io;
use std::path::PathBuf;

use sriov_node::daemon::error::DaemonError;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("cannot watch the kubelet's directory `{}`: is the kubelet installed, is --kubelet-dir right?", path.display())]
    KubeletDir { path: PathBuf, source: io::Error },
}
