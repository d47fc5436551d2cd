//! The DRA driver: publishes the pools of this node to the API server as `ResourceSlices`, and prepares claims for the kubelet.
//!
//! Discovery, health and grants are in `sriov-inventory` and `sriov-node`; here is what the API server and the kubelet's DRA plugin API need.
//! Start at `runtime::run` for the daemon, at `publish` for the slices, at `cli::args` for the command line.

#![forbid(unsafe_code)]

mod api;
mod claim;
mod cli;
mod kubelet;
mod prepare;
pub mod proto;
mod publish;
mod runtime;
mod settings;
mod state;
mod status;

use std::error::Error;
use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use sriov_host::chain;
use sriov_node::daemon::threads;

use crate::cli::args::{self, Invocation};

/// Runs the program with its command line; the first word is the program's name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    match args::parse(words, environment) {
        Ok(invocation) => execute(invocation).unwrap_or_else(|error| fail(1, &chain(&*error))),
        Err(error) => fail(2, &format!("{error}; --help lists the flags")),
    }
}

fn execute(invocation: Invocation) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = threads::runtime()?;
    match invocation {
        Invocation::Print(text) => stdout().write_all(text.as_bytes())?,
        Invocation::Run(settings) => {
            let ended = runtime.block_on(runtime::run(*settings));
            // A thread that blocks in a read of sysfs must not delay the exit.
            runtime.shutdown_background();
            ended?;
        }
        Invocation::ExplainClaim(settings, claim) => {
            let text = runtime.block_on(cli::claim::explain(&settings, &claim))?;
            stdout().write_all(text.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(code: u8, sentence: &str) -> ExitCode {
    let _ = writeln!(stderr(), "sriov-dra-driver: {sentence}");
    ExitCode::from(code)
}
