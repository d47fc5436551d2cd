//! Why the daemon could not start.

use sriov_node::daemon::error::DaemonError;

use crate::api::client::NoApiServer;
use crate::kubelet::serve::ServeError;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    NoApiServer(#[from] NoApiServer),
    #[error(transparent)]
    Kubelet(#[from] ServeError),
}
