//! Delegation to an IPAM plugin, by the protocol of the CNI specification, section 4.

mod call;
mod delegate;
mod error;
mod process;

pub(crate) use self::delegate::{Adding, Ipam};
pub(crate) use self::error::IpamError;
