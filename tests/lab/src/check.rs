//! `cargo lab check`: the checks that need no node. It is the fast loop while editing, and the gate begins with its format and lints.

use anyhow::Result;

use crate::checkout::cargo;
use crate::report::Report;

/// Runs format, lints, unit tests and house rules; true when all passed.
///
/// # Errors
/// When cargo cannot be started.
pub fn run() -> Result<bool> {
    let mut report = Report::default();
    sources(&mut report)?;
    report.command(
        "unit tests and house rules",
        cargo()
            .args(["test", "--quiet", "--workspace", "--lib", "--bins"])
            .args(["--test", "house"]),
    )?;
    Ok(report.print())
}

/// Format and lints.
pub(crate) fn sources(report: &mut Report) -> Result<()> {
    report.command("format", cargo().args(["fmt", "--all", "--check"]))?;
    report.command(
        "lints",
        cargo().args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    Ok(())
}
