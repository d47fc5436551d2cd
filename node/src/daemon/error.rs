//! Why a daemon could not start, whatever its front end.

use std::io;

use sriov_host::sysfs::ScanError;

use super::config_file::ConfigError;
use super::preflight::NotWritable;

/// Why a daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The runtime or a signal handler could not be set up.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    /// There is no usable configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The first scan failed.
    #[error("cannot find the devices")]
    Scan(#[source] ScanError),
    /// A directory cannot be written.
    #[error(transparent)]
    NotWritable(#[from] NotWritable),
}
