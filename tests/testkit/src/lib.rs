//! Components of tests, bench and demo: a kubelet double, constructed machines, access to the node, runners of both plugins.

#![forbid(unsafe_code)]

#[expect(
    clippy::indexing_slicing,
    reason = "a missing key of a JSON value reads as null, and is added by a write"
)]
pub mod api_server;
pub mod cluster;
pub mod cni;
pub mod dra_plugin;
pub mod driver;
pub mod kubelet;
pub mod multus;
pub mod node;
pub mod plugin;
pub mod process;
pub mod prometheus;
pub mod scrape;
pub mod sized_tree;
pub mod strace;
pub mod tree;
