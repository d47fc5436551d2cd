//! Why a network configuration is refused.

use super::version::UnsupportedVersion;
use crate::finding::{Finding, Mistakes};

/// Why a network configuration is refused; each kind has a code of its own in the CNI specification, section "Error".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetConfError {
    /// Not JSON, or not an object.
    #[error("cannot decode the network configuration: {0}")]
    Decode(String),
    /// A `cniVersion` that this plugin does not support.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// Mistakes, all of them.
    #[error("invalid network configuration: {0}")]
    Invalid(Mistakes),
}

impl From<Finding> for NetConfError {
    fn from(finding: Finding) -> Self {
        Self::Invalid(Mistakes(vec![finding]))
    }
}
