//! `sriov-device-plugin`: reads its arguments, runs until it is told to stop.

use std::io::Write;
use std::process::ExitCode;

use sriov_device_plugin::args::{self, Asked};
use sriov_device_plugin::plugin;

fn main() -> ExitCode {
    let asked = match args::parse(std::env::args_os()) {
        Ok(asked) => asked,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "sriov-device-plugin: {error}; --help lists the flags"
            );
            return ExitCode::from(2);
        }
    };
    let setup = match asked {
        Asked::Print(text) => {
            return if std::io::stdout().write_all(text.as_bytes()).is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Asked::Run(setup) => setup,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(setup.log_level)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(plugin::StartError::Runtime);
    match runtime.and_then(|runtime| runtime.block_on(plugin::run(setup))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", plugin::chain(&error));
            ExitCode::FAILURE
        }
    }
}
