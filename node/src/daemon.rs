//! The process around a front end: configuration, signals, logs, the owners, and the core loop that keeps the pools current.
//!
//! Start at [`core_loop::Core`]; a front end implements [`core_loop::FrontEnd`].

pub mod channels;
pub mod config_file;
pub mod core_loop;
pub mod error;
pub mod holders;
mod last_good;
pub mod log;
pub mod preflight;
pub mod signals;
pub mod threads;
