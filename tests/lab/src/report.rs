//! The report of a run: executes checks and suites, and prints which of them passed.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::checkout::target;
use crate::progress;
use crate::qemu::{Job, Node};

/// A node and the suites that run on it.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Name of the node in the output.
    pub(crate) name: &'static str,
    pub(crate) node: Node,
    pub(crate) jobs: Vec<Job>,
}

/// All checks of a run with their results.
#[derive(Debug, Default)]
pub(crate) struct Report {
    checks: Vec<Check>,
    /// Directories with the output of suites.
    logs: Vec<PathBuf>,
}

#[derive(Debug)]
struct Check {
    name: String,
    has_passed: bool,
    took: Duration,
}

impl Report {
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let started = Instant::now();
        let output = progress::step(name, || command.output())
            .with_context(|| format!("cannot start the check `{name}`"))?;
        if !output.status.success() {
            println!(
                "{}\n{}",
                String::from_utf8_lossy(&output.stdout).trim_end(),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        self.add(name, output.status.success(), started.elapsed());
        Ok(())
    }

    /// Runs a check of the lab's own.
    pub(crate) fn step(&mut self, name: &str, check: impl FnOnce() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        let has_passed = progress::step(name, check)?;
        self.add(name, has_passed, started.elapsed());
        Ok(())
    }

    /// Runs the suites of all nodes at the same time: one thread emulates each node.
    pub(crate) fn nodes(&mut self, mut all: Vec<Planned>) -> Result<()> {
        if all.len() > 1 {
            for Planned { name, node, .. } in &mut all {
                node.set_prefix(format!("{name}: "));
            }
        }
        for Planned { name, node, .. } in &mut all {
            let logs = target().join("lab").join(name.replace(' ', "-"));
            node.keep_logs(&logs)?;
            self.logs.push(logs);
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
                self.add(&name, outcome.code == 0, outcome.took);
            }
        }
        Ok(())
    }

    /// Adds the result of a check.
    pub(crate) fn add(&mut self, name: &str, has_passed: bool, took: Duration) {
        self.checks.push(Check {
            name: name.to_owned(),
            has_passed,
            took,
        });
    }

    /// Prints each check with its result; true if all passed.
    pub(crate) fn print(&self) -> bool {
        println!();
        for Check {
            name,
            has_passed,
            took,
        } in &self.checks
        {
            let result = if *has_passed { "ok    " } else { "FAILED" };
            println!("{result} {name} ({:.1} s)", took.as_secs_f64());
        }
        for logs in &self.logs {
            println!(
                "output of each suite and the node's console: {}",
                logs.display()
            );
        }
        let passed = self.checks.iter().filter(|check| check.has_passed).count();
        let failed = self.checks.len() - passed;
        println!("{passed} passed, {failed} failed");
        failed == 0
    }
}
