//! What people write: the device plugin's resource list and the CNI network configuration.
//!
//! Turns text into values that cannot be wrong, or into the list of all mistakes with their JSON paths.
//! It opens no file and reads no host.

#![forbid(unsafe_code)]

mod fields;
mod finding;
pub mod netconf;
pub mod pf_selector;
mod places;
pub mod resources;

pub use finding::{Finding, Mistakes};
pub use netconf::NetConf;
pub use places::Position;
pub use resources::ResourceList;
