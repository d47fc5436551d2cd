//! `sriov install`: puts the program where the runtime looks for plugins, whole or not at all. Attachments are not touched.
//!
//! It is the entry point of the container image; its flags are those of the entry point of the Go plugin's image.

mod arguments;
mod error;
mod put;
mod run;

pub use self::run::install;
