//! The device plugin: advertises the pools of this node to the kubelet as extended resources; with a subcommand, a tool that shows them.
//!
//! The front end of the kubelet and the process around it: what is found, granted and served over HTTP is in `sriov-node`.
//! Start at `runtime::run` for the daemon, at `cli::subcommands` for the subcommands, at `kubelet::server` for the device plugin API.

#![forbid(unsafe_code)]

mod cli;
mod kubelet;
pub mod proto;
mod runtime;
mod settings;

use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use sriov_host::chain;
use sriov_node::daemon::threads;

use crate::cli::args::{self, Invocation};
use crate::cli::subcommands::{self, Paint};

/// Runs the program with its command line; the first word is the program's name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(words) {
        Ok(invocation) => execute(invocation).unwrap_or_else(|error| fail(1, &chain(&*error))),
        Err(error) => fail(2, &format!("{error}; --help lists the flags")),
    }
}

fn execute(invocation: Invocation) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = threads::runtime()?;
    match invocation {
        Invocation::Print(text) => stdout().write_all(text.as_bytes())?,
        Invocation::Subcommand(settings, command) => {
            let no_color = std::env::var_os("NO_COLOR");
            let paint = Paint::of(stdout().is_terminal(), no_color.as_deref());
            let (out, notes) = (&mut stdout(), &mut stderr());
            let verdict = subcommands::run(&settings, &command, paint, out, notes);
            return Ok(runtime.block_on(verdict)?.into());
        }
        Invocation::Run(settings) => {
            let ended = runtime.block_on(runtime::run(settings));
            // A thread that blocks in a read of sysfs must not delay the exit.
            runtime.shutdown_background();
            ended?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn fail(code: u8, sentence: &str) -> ExitCode {
    let _ = writeln!(stderr(), "sriov-device-plugin: {sentence}");
    ExitCode::from(code)
}
