//! `cargo lab`: an emulated SR-IOV node on which the real programs run, and the gate that uses it.
//!
//! Start at [`command`], which maps each command to a function.
//! `debian` downloads the components of the node, `image` writes its initramfs, `qemu` boots it and runs jobs.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for people: printing is its job"
)]

pub mod architecture;
pub mod arm64;
pub mod build;
pub mod cache;
pub mod check;
pub mod checkout;
pub mod command;
mod container;
pub mod cpio;
pub mod debian;
pub mod digest;
mod files;
pub mod gate;
pub mod go;
mod ground;
pub mod image;
pub mod kubernetes;
pub mod manifests;
mod netdevsim;
pub mod oci;
pub mod peers;
pub mod plain;
pub mod progress;
pub mod qemu;
pub mod release;
pub mod report;
pub mod ship;
pub mod suites;
mod tools;
pub mod wait;
