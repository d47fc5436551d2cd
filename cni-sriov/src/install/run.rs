//! Runs the installer: prints what it did, and waits for a signal.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use super::arguments::{Command, parse};
use super::error::InstallError;
use super::put::put;
use crate::setup::STATE_DIR;
use sriov_device_info::private_dir;
use sriov_host::chain::chain;

/// Installs as the command line requests; the first argument is the name of the program.
pub fn install(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(arguments, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sriov: {}", chain(&error));
            error.exit_code().into()
        }
    }
}

fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
) -> Result<(), InstallError> {
    let install = match parse(arguments)? {
        Command::Install(install) => install,
        Command::Print(text) => return print(out, text),
    };
    // Blocked before the installation, so that none is missed: the first process of a container is not even ended by signals that it does not handle.
    let mut signals = SigSet::empty();
    if install.is_staying {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            signals.add(signal);
        }
        signals.thread_block().map_err(InstallError::Signal)?;
    }
    let outcome = put(&install)?;
    print(out, &format!("{outcome}\n"))?;
    // Not in a container without the state directory, and no reason to fail: the next ADD opens it as well.
    if let Err(error) = private_dir::open(Path::new(STATE_DIR)) {
        print(
            out,
            &format!("cannot open {STATE_DIR} for its owner: {error}\n"),
        )?;
    }
    if install.is_staying {
        print(out, "staying until SIGTERM\n")?;
        signals.wait().map_err(InstallError::Signal)?;
    }
    Ok(())
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), InstallError> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| InstallError::Write {
        path: "standard output".into(),
        source,
    })
}
