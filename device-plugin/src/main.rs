//! `sriov-device-plugin`: passes its arguments on.

use std::process::ExitCode;

fn main() -> ExitCode {
    sriov_device_plugin::run(std::env::args_os())
}
