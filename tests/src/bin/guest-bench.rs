//! The part of the bench that runs on the node; `cargo lab bench` boots the node and starts it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match sriov_tests::bench::cni::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
