//! `sriov-device-plugin`: reads its arguments, then runs until it is told to stop, or tells what it was asked for.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use sriov_device_plugin::args::{self, Asked};
use sriov_device_plugin::plugin;
use sriov_device_plugin::tool::{self, Paint};

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(asked) => act(asked).unwrap_or_else(|error| said(1, &plugin::chain(&*error))),
        Err(error) => said(2, &format!("{error}; --help lists the flags")),
    }
}

fn act(asked: Asked) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.thread_keep_alive(Duration::from_secs(1));
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(plugin::StartError::Runtime)?;
    match asked {
        Asked::Print(text) => stdout().write_all(text.as_bytes())?,
        Asked::Tell(setup, command) => {
            let no_color = std::env::var_os("NO_COLOR");
            let paint = Paint::of(stdout().is_terminal(), no_color.as_deref());
            let (out, notes) = (&mut stdout(), &mut stderr());
            let told = tool::run(&setup, &command, paint, out, notes);
            return Ok(runtime.block_on(told)?.into());
        }
        Asked::Run(setup) => runtime.block_on(plugin::run(setup))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn said(code: u8, sentence: &str) -> ExitCode {
    let _ = writeln!(stderr(), "sriov-device-plugin: {sentence}");
    ExitCode::from(code)
}
