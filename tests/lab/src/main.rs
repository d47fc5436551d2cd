//! `cargo lab`: hands its words to [`sriov_tests::lab`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    sriov_tests::lab::main(&words)
}
