//! Why a result cannot be read or expressed.

use sriov_config::netconf::CniVersion;

/// A result that cannot be read or expressed.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// `prevResult` is not a result.
    #[error("invalid network configuration: prevResult: {0}")]
    Previous(String),
    /// CHECK came without `prevResult`.
    #[error("invalid network configuration: prevResult: it is missing, CHECK compares with it")]
    NoPrevious,
    /// Up to version 0.2.0 a result must have addresses.
    #[error(
        "invalid network configuration: cniVersion: `{0}` cannot express a result without addresses: name an ipam, or 0.3.0 and later"
    )]
    Inexpressible(CniVersion),
    /// The result of the IPAM plugin cannot be used.
    #[error("the result of the IPAM plugin `ipam` has {0}")]
    Ipam(String),
}
