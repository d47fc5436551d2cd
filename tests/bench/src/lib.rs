//! What both programs cost, on the emulated node and on constructed machines.
//!
//! Start at [`run`], which measures, prints and writes the document; [`guest`] is the part that runs on the node.
//! Times are given with their spread and never judged: machines are shared and noisy. Counts are judged by the suites.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for people: printing is its job"
)]

pub mod cni;
pub mod confined;
pub mod counts;
pub mod device_plugin;
pub mod figure;
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
