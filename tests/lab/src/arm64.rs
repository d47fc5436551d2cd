//! The programs for arm64, run by QEMU's emulation of one process: what they print, and the in-memory kernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::architecture::{Architecture, EMULATOR};
use crate::build::{self, Build};
use crate::checkout::{VERSION, cargo, target};
use crate::report::Report;
use crate::tools::has;

/// Variable of the environment that names the device plugin to tests which run its tools.
pub const DEVICE_PLUGIN: &str = "VIRTFN_DEVICE_PLUGIN";

/// Test programs that need no other program: units and the in-memory kernel.
const TESTS: [&[&str]; 3] = [
    &["--package", "sriov-cni", "--test", "memory"],
    &[
        "--package",
        "sriov-host",
        "--features",
        "linux",
        "--lib",
        // The emulator has neither the requests of ethtool nor user sockets of netlink.
        "--",
        "--skip=loopback_has_no_device_behind_it",
        "--skip=datagram_of_any_length_is_read_whole",
    ],
    &["--package", "sriov-device-info", "--lib"],
];

/// Runs the checks; true if all passed.
///
/// # Errors
/// If the programs cannot be built, or something for it is missing on this machine.
pub fn run() -> Result<bool> {
    let mut report = Report::default();
    check(&mut report, build::whole_dist)?;
    Ok(report.print())
}

/// Adds the checks of the arm64 programs that `make` builds to the report.
///
/// # Errors
/// If they cannot be built, or something for it is missing on this machine.
pub(crate) fn check(report: &mut Report, make: Build) -> Result<()> {
    if !has(EMULATOR) {
        bail!("`{EMULATOR}` is not on this machine: Debian's package qemu-user-static has it");
    }
    let built = make(Architecture::Arm64)?;
    let reference = build::dist(Architecture::Amd64)?;
    report.step("CNI versions on arm64", || {
        is_version_equal(&built.cni, &reference.cni)
    })?;
    if let Some(driver) = &built.dra_driver {
        report.step("version of the DRA driver on arm64", || has_version(driver))?;
    }
    let wrapper = wrapper(&built.device_plugin)?;
    report.command(
        "tools of the device plugin on arm64",
        cargo()
            .args(["test", "--quiet", "--package", "sriov-suites"])
            .args(["--test", "constructed", "tool::"])
            .env(DEVICE_PLUGIN, wrapper),
    )?;
    for words in TESTS {
        let target = Architecture::Arm64.target();
        report.command(
            &format!("`cargo test {}` on arm64", words.join(" ")),
            cargo()
                .args(["test", "--quiet", "--target", target])
                .args(words)
                .envs(Architecture::Arm64.environment()),
        )?;
    }
    Ok(())
}

/// Whether the CNI plugin answers VERSION as on the node's architecture.
fn is_version_equal(emulated: &Path, native: &Path) -> Result<bool> {
    let said = |command: &mut Command| -> Result<Vec<u8>> {
        let output = command
            .env("CNI_COMMAND", "VERSION")
            .stdin(Stdio::null())
            .output()
            .context("cannot start the CNI plugin")?;
        if !output.status.success() {
            bail!("the CNI plugin: {}", output.status);
        }
        Ok(output.stdout)
    };
    let printed = said(Command::new(EMULATOR).arg(emulated))?;
    Ok(printed == said(&mut Command::new(native))?)
}

/// Whether the DRA driver starts and prints the version of this checkout.
fn has_version(driver: &Path) -> Result<bool> {
    let output = Command::new(EMULATOR)
        .arg(driver)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .context("cannot start the DRA driver")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && printed.contains(VERSION))
}

/// A program that runs another one in the emulator.
fn wrapper(program: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let file = target().join("dist/arm64/emulated");
    let text = format!(
        "#!/bin/sh\nexec {EMULATOR} '{}' \"$@\"\n",
        program.display()
    );
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(file)
}
