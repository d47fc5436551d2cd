//! What a node can offer: which device is in which pool, whether a pod can use it, and who holds it.
//!
//! Pure: every result follows from a [`sriov_host::HostSnapshot`], the configuration, the owners, and the time that the caller passes.
//! No file is opened, no clock is read, and nothing here depends on gRPC, HTTP or the API server.
//! Start at [`assign::plan_pools`], then [`judge::judge`]; [`offer::Offer`] combines both and dampens flapping.

#![forbid(unsafe_code)]

pub mod assign;
pub mod candidate;
pub mod class_hint;
pub mod damper;
pub mod grants;
pub mod health_changes;
pub mod held;
pub mod id;
pub mod judge;
pub mod node_use;
pub mod offer;
pub mod owners;
pub mod pool;
pub mod prefer;
mod representor;
pub mod selector_match;
pub mod unhealthy;
