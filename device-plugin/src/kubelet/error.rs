//! Why a pool could not be served or registered.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A pool could not be served or registered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("cannot listen on `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot reach the kubelet on `{}`", path.display())]
    Connect {
        path: PathBuf,
        source: tonic::transport::Error,
    },
    #[error("the kubelet refused the registration: {0}")]
    Refused(String),
    #[error("the kubelet did not answer the registration within {} s", after.as_secs())]
    NoAnswer { after: Duration },
    #[error("the connection to the kubelet broke during the registration: {0}")]
    Broken(String),
}

impl ServeError {
    /// Whether the kubelet answered, and refused.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Listen { .. }
            | Self::Connect { .. }
            | Self::NoAnswer { .. }
            | Self::Broken(_) => false,
        }
    }
}
