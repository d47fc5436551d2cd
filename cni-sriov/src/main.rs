//! `sriov`: reads environment and standard input, prints one JSON document, exits; with words it is the installer of itself.

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;

use sriov_cni::Setup;
use sriov_cni::failure::Failure;
use sriov_cni::install;
use sriov_cni::log;
use sriov_cni::request::{Environment, Verb};

/// What a configuration with its last result seldom exceeds.
const INPUT: usize = 8 * 1024;

fn main() -> ExitCode {
    // No runtime gives a plugin words.
    if std::env::args_os().nth(1).is_some() {
        return install();
    }
    let environment = Environment::of_process();
    // Room for the whole of it: an empty string would grow by small reads.
    let mut stdin = String::with_capacity(INPUT);
    let read = std::io::stdin()
        .read_to_string(&mut stdin)
        .map_err(Failure::stdin);
    log::start(&stdin);
    let _call = log::call(&environment, &stdin).entered();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Failure::runtime)
    };
    let done = read.and_then(|_| {
        let verb = environment.verb()?;
        if verb == Verb::Version {
            // Runtimes ask for it before everything else: it costs no more than to start a process.
            return Ok(Some(sriov_cni::version(&stdin)));
        }
        let setup = Setup::default();
        runtime()?.block_on(sriov_cni::run(&setup, verb, &environment, &stdin))
    });
    let (document, code) = match done {
        Ok(document) => (document, ExitCode::SUCCESS),
        Err(failure) => {
            tracing::error!("{}", failure.chain());
            (Some(failure.document(&stdin)), ExitCode::FAILURE)
        }
    };
    let written = document.map_or(Ok(()), |document| {
        std::io::stdout().write_all(format!("{document}\n").as_bytes())
    });
    if written.is_ok() {
        code
    } else {
        ExitCode::FAILURE
    }
}

fn install() -> ExitCode {
    match install::run(std::env::args_os(), &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            let cause = cause.unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "sriov: {error}{cause}");
            error.exit_code().into()
        }
    }
}
