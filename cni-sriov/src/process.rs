//! The process of a call: environment and standard input in, one JSON document and an exit code out.

use std::panic;
use std::process::ExitCode;

use serde_json::Value;
use sriov_config::netconf::NetConfError;
use sriov_host::{heap, modules};

use crate::dispatch::{run, version};
use crate::failure::Failure;
use crate::log;
use crate::request::{Environment, RequestError, Verb};
use crate::setup::Setup;
use crate::streams::{read_standard_input, write_standard_output};

/// Carries out the call that environment and standard input of this process describe.
pub fn call(setup: &Setup) -> ExitCode {
    heap::take_much();
    // A kernel that refuses has no such capability to drop, or a filter of system calls; the call does not need it.
    let _ = modules::load_none();
    let environment = Environment::of_process();
    let (stdin, refused) = match read_standard_input().map(String::from_utf8) {
        Ok(Ok(stdin)) => (stdin, None),
        Ok(Err(error)) => (String::new(), Some(not_text(&error.utf8_error()))),
        Err(error) => (String::new(), Some(Failure::Stdin(error))),
    };
    report_panics(&stdin);
    log::start(&stdin);
    let _call = log::call(&environment, &stdin).entered();
    let done = match refused {
        None => carry_out(setup, &environment, &stdin),
        Some(failure) => Err(failure),
    };
    match done {
        Ok(document) => print(document.as_ref(), ExitCode::SUCCESS),
        Err(failure) => {
            tracing::error!("{}", failure.chain());
            print(Some(&failure.document(&stdin)), ExitCode::FAILURE)
        }
    }
}

fn not_text(error: &std::str::Utf8Error) -> Failure {
    let error = NetConfError::Decode(error.to_string());
    Failure::Request(RequestError::NetConf(error))
}

/// A panic is a mistake in this program; the runtime gets an error document all the same.
fn report_panics(stdin: &str) {
    let document = Failure::Panic.document(stdin);
    panic::set_hook(Box::new(move |panic| {
        let mut document = document.clone();
        if let Some(fields) = document.as_object_mut() {
            fields.insert("details".to_owned(), panic.to_string().into());
        }
        let _ = write_standard_output(format!("{document}\n").as_bytes());
        std::process::exit(1);
    }));
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
    // The process ends with the call, and the kernel closes all that is open: that takes no further calls.
    let runtime = Box::leak(Box::new(runtime));
    runtime.block_on(run(setup, verb, environment, stdin))
}

/// Prints the document; a document that cannot be printed is a failure of the call.
fn print(document: Option<&Value>, code: ExitCode) -> ExitCode {
    let written = document.map_or(Ok(()), |document| {
        write_standard_output(format!("{document}\n").as_bytes())
    });
    match written {
        Ok(()) => code,
        Err(error) => {
            tracing::error!(%error, "cannot write to standard output");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "SRIOV_TEST_PANICS";

    #[test]
    fn panic_ends_with_an_error_document() {
        if std::env::var_os(CHILD).is_some() {
            report_panics(r#"{"cniVersion": "1.0.0"}"#);
            panic!("out of paper");
        }
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this);
        child.args([
            "--exact",
            "--nocapture",
            "process::tests::panic_ends_with_an_error_document",
        ]);
        let output = child.env(CHILD, "1").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let document = text.lines().find(|line| line.starts_with('{')).unwrap();
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(
            (output.status.code(), &document["code"]),
            (Some(1), &105.into())
        );
        assert_eq!(document["cniVersion"], "1.0.0");
        assert!(
            document["details"]
                .as_str()
                .unwrap()
                .contains("out of paper")
        );
    }
}
