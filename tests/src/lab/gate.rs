//! `cargo lab test`: every check that a change has to pass, in the order in which they are cheap.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::{self, Suite, cargo};
use super::cache::Cache;
use super::qemu::{Job, Outcome, Output};
use super::{prepare, progress};

const PACKAGES: &[&[&str]] = &[
    &["sriov-host"],
    &["sriov-host", "--features", "sysfs"],
    &["sriov-host", "--features", "netlink"],
    &["sriov-config"],
    &["sriov-device-info"],
    &["sriov-device-plugin"],
    &["sriov-cni"],
    &["sriov-tests"],
];

/// Runs the whole gate; true when all of it passed.
pub fn run() -> Result<bool> {
    let mut report = Report::default();
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
    report.command(
        "documentation",
        cargo()
            .args([
                "doc",
                "--quiet",
                "--workspace",
                "--no-deps",
                "--all-features",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    report.command(
        "unit and property tests, arrows, house rules",
        cargo().args(["test", "--quiet", "--workspace"]),
    )?;
    for package in PACKAGES {
        report.command(
            &format!("{} builds alone", package.join(" ")),
            cargo()
                .args(["check", "--quiet", "--package"])
                .args(*package),
        )?;
    }
    let cache = Cache::open()?;
    report.command(
        "licences, bans and sources",
        deny(&cache)?.args([
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]),
    )?;
    report.suites(&[])?;
    Ok(report.print())
}

/// Runs suites on the node; true when all of them passed.
pub fn run_suites(names: &[&str]) -> Result<bool> {
    let mut report = Report::default();
    report.suites(names)?;
    Ok(report.print())
}

/// What was checked, and whether it passed.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<(String, bool)>,
}

impl Report {
    fn command(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let output = progress::step(name, || command.output())
            .with_context(|| format!("cannot start the check `{name}`"))?;
        if !output.status.success() {
            println!(
                "{}\n{}",
                String::from_utf8_lossy(&output.stdout).trim_end(),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        self.checks.push((name.to_owned(), output.status.success()));
        Ok(())
    }

    fn suites(&mut self, names: &[&str]) -> Result<()> {
        let suites = build::suites("guest", names)?;
        let (_cache, mut node) = prepare()?;
        for Suite { name, program } in &suites {
            node.add_file(&format!("lab/suites/{name}"), program)?;
        }
        let job = |Suite { name, .. }: &Suite| Job {
            name: name.clone(),
            argv: vec![format!("/lab/suites/{name}"), "--test-threads=1".to_owned()],
            output: Output::Both,
        };
        let outcomes = node.run(&suites.iter().map(job).collect::<Vec<_>>())?;
        self.outcomes("on real VFs", suites.len(), outcomes)
    }

    /// Takes in how `count` suites ended.
    pub(super) fn outcomes(
        &mut self,
        where_: &str,
        count: usize,
        outcomes: Vec<Outcome>,
    ) -> Result<()> {
        if outcomes.len() != count {
            bail!(
                "{count} suites were to run on the node, {} did",
                outcomes.len()
            );
        }
        self.checks.extend(outcomes.into_iter().map(|outcome| {
            (
                format!("suite {} {where_}", outcome.name),
                outcome.code == 0,
            )
        }));
        Ok(())
    }

    /// Prints what passed and what failed; true when all passed.
    pub(super) fn print(&self) -> bool {
        println!();
        for (name, passed) in &self.checks {
            println!("{} {name}", if *passed { "ok    " } else { "FAILED" });
        }
        let passed = self.checks.iter().filter(|(_, passed)| *passed).count();
        let failed = self.checks.len() - passed;
        println!("{passed} passed, {failed} failed");
        failed == 0
    }
}

/// cargo-deny, from the machine or built into the cache.
fn deny(cache: &Cache) -> Result<Command> {
    let own = cache.path("tools/bin/cargo-deny");
    let on_machine = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !on_machine && !own.exists() {
        let installed = progress::step("building cargo-deny, once (some minutes)", || {
            cargo()
                .args(["install", "--quiet", "--locked", "cargo-deny", "--root"])
                .arg(cache.path("tools"))
                .status()
        });
        if !installed.context("cannot start cargo")?.success() {
            bail!("cannot install cargo-deny: its messages are above");
        }
    }
    let mut command = if on_machine {
        Command::new("cargo-deny")
    } else {
        Command::new(own)
    };
    command.current_dir(build::workspace());
    Ok(command)
}
