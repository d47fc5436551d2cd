//! `cargo lab test`: every check that a change has to pass, in the order in which they are cheap.

use std::panic::resume_unwind;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, bail};

use super::build::{self, Suite, cargo};
use super::cache::Cache;
use super::kubernetes::{ROUNDS, manifests};
use super::qemu::{Job, Node, Output};
use super::{kubernetes, prepare, progress};

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

/// Runs the whole gate, and with it or without the suites on a Kubernetes node; true when all of it passed.
pub fn run(with_kubernetes: bool) -> Result<bool> {
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
    let plain = plain_node(&[])?;
    if with_kubernetes {
        let (kubernetes, _plane) = kubernetes::prepare(&[], ROUNDS)?;
        report.nodes(vec![plain, kubernetes])?;
        report.add("rendered manifests", manifests::run(false)?);
    } else {
        report.nodes(vec![plain])?;
    }
    Ok(report.print())
}

/// Runs suites on the node; true when all of them passed.
pub fn run_suites(names: &[&str]) -> Result<bool> {
    let mut report = Report::default();
    report.nodes(vec![plain_node(names)?])?;
    Ok(report.print())
}

fn plain_node(names: &[&str]) -> Result<Planned> {
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
    Ok(Planned {
        name: "node",
        node,
        jobs: suites.iter().map(job).collect(),
    })
}

/// Suites and the node that runs them.
#[derive(Debug)]
pub(super) struct Planned {
    /// Name of the node in the output.
    pub(super) name: &'static str,
    pub(super) node: Node,
    pub(super) jobs: Vec<Job>,
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
        self.add(name, output.status.success());
        Ok(())
    }

    /// Runs the suites of all nodes, side by side: each is emulated by one thread.
    pub(super) fn nodes(&mut self, mut all: Vec<Planned>) -> Result<()> {
        if all.len() > 1 {
            for Planned { name, node, .. } in &mut all {
                node.set_prefix(format!("{name}: "));
            }
        }
        let run = |Planned { node, jobs, .. }: &Planned| node.run(jobs);
        let ended: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = all.iter().map(|it| scope.spawn(|| run(it))).collect();
            running.into_iter().map(ScopedJoinHandle::join).collect()
        });
        for (planned, outcomes) in all.iter().zip(ended) {
            let outcomes = outcomes.unwrap_or_else(|panic| resume_unwind(panic))?;
            for outcome in outcomes {
                let name = format!("suite {} on the {}", outcome.name, planned.name);
                self.add(&name, outcome.code == 0);
            }
        }
        Ok(())
    }

    /// Takes in a check.
    pub(super) fn add(&mut self, name: &str, has_passed: bool) {
        self.checks.push((name.to_owned(), has_passed));
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
