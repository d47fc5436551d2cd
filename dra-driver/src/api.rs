//! The API server: the only place that names the types of the client. Every request has a deadline and is counted.

pub(crate) mod claims;
pub(crate) mod client;
pub(crate) mod error;
mod observed;
