//! Components of tests, bench and demo: a kubelet double, constructed machines, access to the node, runners of both plugins.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod cni;
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
