//! The API server: the only place that names the types of the client. Every request has a deadline and is counted.

pub(crate) mod claim_status;
pub(crate) mod claims;
pub(crate) mod client;
pub(crate) mod error;
#[allow(dead_code, reason = "for whoever prepares claims")]
pub(crate) mod events;
pub(crate) mod observed;
pub(crate) mod slices;
