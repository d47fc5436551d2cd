//! The harness of the tests: the lab (an emulated SR-IOV node), Multus as far as the CNI plugin sees it, the demo.
//!
//! The tests themselves are in `tests/tests/`; those that run on the node are called `guest_*`.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for people: printing is its job"
)]

pub mod bench;
#[cfg(feature = "guest")]
pub mod cluster;
pub mod cni;
#[cfg(feature = "guest")]
pub mod demo;
pub mod kubelet;
pub mod lab;
pub mod manifests;
pub mod multus;
pub mod node;
pub mod plugin;
pub mod scrape;
pub mod strace;
pub mod tree;
