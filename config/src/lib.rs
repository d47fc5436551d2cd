//! Configurations that people write: the resource list, the CNI network configuration, and the parameters of claims.
//!
//! Text becomes valid values, or the list of all mistakes with their JSON paths.
//! This crate opens no file and does not read the host.

#![forbid(unsafe_code)]

mod fields;
mod finding;
pub mod netconf;
pub mod pf_selector;
mod places;
pub mod resource_list;
pub mod vf_config;

pub use finding::{Finding, Mistakes};
pub use netconf::NetConf;
pub use places::Position;
pub use resource_list::ResourceList;
