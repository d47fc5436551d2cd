//! The real device plugin on constructed machines, with the kubelet double: for devices and changes that the emulated NIC lacks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]

mod allocate;
mod blocked;
mod config_file;
mod corpus;
mod device_plugin;
mod health;
mod http;
mod machines;
mod metrics;
mod reconnects;
mod slices;
mod subfunctions;
mod tool;
