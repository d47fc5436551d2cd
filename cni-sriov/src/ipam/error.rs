//! What an IPAM plugin can fail with.

use std::io;
use std::path::PathBuf;

/// The IPAM plugin did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The plugin is not in `CNI_PATH`.
    #[error("the IPAM plugin `{plugin}` is not in CNI_PATH {path:?}")]
    NotFound {
        /// Name of the plugin.
        plugin: String,
        /// The directories of `CNI_PATH`.
        path: Vec<PathBuf>,
    },
    /// The plugin is this program, which assigns no addresses.
    #[error("ipam.type: `{plugin}` is this plugin itself, not an IPAM plugin")]
    IsSelf {
        /// Name of the plugin.
        plugin: String,
    },
    /// The plugin did not end in time, and was killed.
    #[error("the IPAM plugin `{plugin}` did not finish {verb} within {seconds} s")]
    Deadline {
        /// Name of the plugin.
        plugin: String,
        /// The verb.
        verb: String,
        /// Its time limit, `ipamTimeout`.
        seconds: u64,
    },
    /// The plugin could not be run.
    #[error("cannot run the IPAM plugin `{plugin}`")]
    Run {
        /// Name of the plugin.
        plugin: String,
        /// Error of the system call.
        source: io::Error,
    },
    /// The plugin reported an error; code and message are those of the plugin.
    #[error("{msg}")]
    Refused {
        /// Code; absent when the plugin gave none.
        code: Option<u32>,
        /// Message.
        msg: String,
    },
    /// The result of the plugin cannot be used.
    #[error("the result of the IPAM plugin `{plugin}` has {what}")]
    Result {
        /// Name of the plugin.
        plugin: String,
        /// The mistake.
        what: String,
    },
}
