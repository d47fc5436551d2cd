//! From the kernel to the pools: wakes up on changes, scans, settles, enriches and plans.

pub mod background_scan;
pub mod changes;
mod enrich;
pub mod pipeline;
mod proc_net;
mod rebound;
pub(crate) mod recorded;
pub mod scan;
mod settle;
pub(crate) mod uplinks;
