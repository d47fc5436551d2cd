//! The HTTP endpoints of a daemon: metrics for Prometheus, and probes.

pub mod server;
mod shared_scrape;
