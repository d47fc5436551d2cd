//! `cargo lab`: passes its arguments to [`sriov_lab::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    sriov_lab::command::main(&words)
}
