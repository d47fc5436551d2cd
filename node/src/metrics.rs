//! The metrics of a daemon in Prometheus' text format: a front end chooses which families its page has.

pub mod inventory;
pub mod process;
pub mod text_format;
pub mod vf;
pub mod vf_counters;
pub mod vf_traffic;
