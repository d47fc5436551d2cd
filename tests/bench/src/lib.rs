//! Measures both programs on the emulated node and on constructed machines.
//!
//! Start at [`run`], which measures, prints and writes the document; [`guest`] measures on the node.
//! Times have a spread and no limit: machines are shared and noisy. The suites have limits for counts.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for people: printing is its job"
)]

pub mod cni;
pub mod confined;
pub mod counts;
pub mod device_plugin;
pub mod dra_driver;
pub mod figure;
pub mod floor;
pub mod growth;
pub mod guest;
pub mod machine;
pub mod node;
pub mod options;
pub mod plot;
pub mod program;
pub mod report;
pub mod rtnl;
pub mod run;
