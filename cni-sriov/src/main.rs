//! `sriov`: without arguments the CNI plugin, with arguments the installer of itself.

use std::process::ExitCode;

use sriov_cni::Setup;

fn main() -> ExitCode {
    // No runtime passes arguments to a plugin.
    if std::env::args_os().nth(1).is_some() {
        sriov_cni::install(std::env::args_os())
    } else {
        sriov_cni::call(&Setup::default())
    }
}
