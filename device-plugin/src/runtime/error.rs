//! Why the daemon could not start.

use std::io;
use std::path::PathBuf;

use sriov_host::sysfs::ScanError;

use super::config_file::ConfigError;
use super::preflight::NotWritable;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot find the devices")]
    Scan(#[source] ScanError),
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
    #[error("cannot watch the kubelet's directory `{}`: is the kubelet installed, is --kubelet-dir right?", path.display())]
    KubeletDir { path: PathBuf, source: io::Error },
}
