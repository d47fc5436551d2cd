//! `sriov-dra-driver`: passes its arguments on.

use std::process::ExitCode;

fn main() -> ExitCode {
    sriov_dra_driver::run(std::env::args_os())
}
