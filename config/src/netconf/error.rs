//! Reasons to refuse a network configuration.

use super::version::UnsupportedVersion;
use crate::finding::{Finding, Mistakes};

/// A refused network configuration; each variant has its own code in the CNI specification, section "Error".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetConfError {
    /// The text is not JSON, or not an object.
    #[error("cannot decode the network configuration: {0}")]
    Decode(String),
    /// A `cniVersion` that this plugin does not support.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// All mistakes.
    #[error("invalid network configuration: {0}")]
    Invalid(Mistakes),
}

impl From<Finding> for NetConfError {
    fn from(finding: Finding) -> Self {
        Self::Invalid(Mistakes(vec![finding]))
    }
}
