//! Suites on the plain node: real VFs and a real kernel, as root.
//!
//! Each module is a suite: `cargo lab test NAME`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by a panic"
)]

mod allocate;
mod allocate_counts;
mod cni;
mod cni_claims;
mod cni_counts;
mod cni_disk;
mod cni_go;
mod cni_hostile;
mod cni_hosts;
mod cni_kill;
mod cni_random;
mod cni_release;
mod cni_streams;
mod cni_userspace;
mod cni_verbs;
mod cni_wire;
mod device_plugin;
mod dra_kill;
mod host;
mod install;
mod live;
mod netdevsim;
mod openvswitch;
mod rdma;
mod smoke;
mod tool;
