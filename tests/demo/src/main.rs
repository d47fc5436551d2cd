//! The demo as it runs on the node; `cargo lab demo` boots the node and starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sriov_tests::demo::main(std::env::args().any(|word| word == "--json"))
}
