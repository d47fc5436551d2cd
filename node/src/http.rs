//! The HTTP endpoints of a daemon: metrics for Prometheus, and probes.

pub mod exposition;
pub mod page;
pub mod process;
pub mod readiness;
pub mod server;
mod shared_page;
pub mod traffic;
