//! What a request can be refused for.

use sriov_config::netconf::{CniVersion, NetConfError};

use super::verb::Verb;

/// A request that cannot be carried out; nothing was read from the host and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A `CNI_*` variable is missing or invalid.
    #[error("{0}")]
    Environment(String),
    /// The network configuration is refused.
    #[error(transparent)]
    NetConf(#[from] NetConfError),
    /// The version of the configuration does not have the verb.
    #[error(
        "{verb} is part of the CNI specification since {since}, the configuration's cniVersion is {version}"
    )]
    TooOld {
        /// The verb.
        verb: Verb,
        /// First version of the specification that has the verb.
        since: CniVersion,
        /// Version of the configuration.
        version: CniVersion,
    },
}

impl RequestError {
    /// Variables that are required and not set.
    pub(super) fn missing(names: &[&str]) -> Self {
        Self::Environment(format!(
            "required env variables [{}] missing",
            names.join(",")
        ))
    }
}
