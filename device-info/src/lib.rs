//! Formats on disk that several of our programs read: device information, attachments, and the claims of pods.
//!
//! [`info`] and [`store`] are the device information specification 1.1.0: its types, its file names, and an atomic store of its files.
//! Specification: `k8snetworkplumbingwg/device-info-spec`, SPEC.md.

#![forbid(unsafe_code)]

pub mod atomic;
pub mod attachments;
pub mod claims;
pub mod info;
pub mod private_dir;
pub mod store;
mod uid;
pub mod versioned;

pub use info::{DeviceInfo, VERSION};
pub use store::{Store, StoreError};
