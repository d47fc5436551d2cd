//! The process of a call: environment and standard input in, one JSON document and an exit code out.

use std::io::{Read, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::dispatch::{run, version};
use crate::failure::Failure;
use crate::log;
use crate::request::{Environment, Verb};
use crate::setup::Setup;

/// Bytes that a configuration with its last result seldom exceeds.
const INPUT: usize = 8 * 1024;

/// Carries out the call that environment and standard input of this process describe.
pub fn call(setup: &Setup) -> ExitCode {
    let environment = Environment::of_process();
    // Room for the whole input: an empty string would grow by small reads.
    let mut stdin = String::with_capacity(INPUT);
    let read = std::io::stdin().read_to_string(&mut stdin);
    log::start(&stdin);
    let _call = log::call(&environment, &stdin).entered();
    let done = match read {
        Ok(_) => carry_out(setup, &environment, &stdin),
        Err(error) => Err(Failure::Stdin(error)),
    };
    match done {
        Ok(document) => print(document.as_ref(), ExitCode::SUCCESS),
        Err(failure) => {
            tracing::error!("{}", failure.chain());
            print(Some(&failure.document(&stdin)), ExitCode::FAILURE)
        }
    }
}

fn carry_out(
    setup: &Setup,
    environment: &Environment,
    stdin: &str,
) -> Result<Option<Value>, Failure> {
    let verb = environment.verb()?;
    if verb == Verb::Version {
        // Runtimes request the versions before everything else: this costs no more than the start of a process.
        return Ok(Some(version(stdin)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(run(setup, verb, environment, stdin))
}

/// Prints the document; a document that cannot be printed is a failure of the call.
fn print(document: Option<&Value>, code: ExitCode) -> ExitCode {
    let written = document.map_or(Ok(()), |document| {
        std::io::stdout().write_all(format!("{document}\n").as_bytes())
    });
    if written.is_ok() {
        code
    } else {
        ExitCode::FAILURE
    }
}
