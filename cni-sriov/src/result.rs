//! The CNI result: read from any version of the specification, written in the version of the configuration.

mod attached;
mod error;
mod route;
mod versions;

pub(crate) use self::attached::{Attached, Interface};
pub(crate) use self::error::ResultError;

#[cfg(test)]
mod tests;
