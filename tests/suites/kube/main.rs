//! Suites on the Kubernetes node: pods on kubelet, containerd and Multus.
//!
//! Each module is a suite: `cargo lab kubernetes NAME`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]

mod bond;
mod cnitool;
mod devices;
mod dpdk;
mod dra;
mod dra_faults;
mod dra_image;
mod dra_many;
mod dra_publish;
mod dropin;
mod install;
mod life;
mod podman;
mod pods;
mod reboot;
mod schedule;
mod upgrade;
mod watcher;
mod wrong;
