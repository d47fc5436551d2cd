//! The program of the demo, which runs on the node; `cargo lab demo` boots the node and starts it.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool for people: printing is its job"
)]

mod demo;
mod facts;
mod story;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    demo::main(std::env::args().any(|word| word == "--json"))
}
