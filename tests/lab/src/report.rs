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
    /// What this machine cannot check, with the reason.
    not_run: Vec<String>,
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

    /// Runs the suites of a node.
    pub(crate) fn node(&mut self, planned: Planned) -> Result<()> {
        self.nodes(vec![vec![planned]], |_| Ok(()))
    }

    /// Runs the suites of the nodes: those of a lane one after the other, all lanes at the same time; one thread emulates each node.
    ///
    /// The checks `aside` run in the time that the nodes leave.
    pub(crate) fn nodes(
        &mut self,
        mut lanes: Vec<Vec<Planned>>,
        aside: impl FnOnce(&mut Report) -> Result<()> + Send,
    ) -> Result<()> {
        let is_one = lanes.iter().map(Vec::len).sum::<usize>() == 1;
        for Planned { name, node, .. } in lanes.iter_mut().flatten() {
            if !is_one {
                node.set_prefix(format!("{name}: "));
            }
            let logs = target().join("lab").join(name.replace(' ', "-"));
            node.keep_logs(&logs)?;
            self.logs.push(logs);
        }
        let run =
            |lane: &[Planned]| -> Vec<_> { lane.iter().map(|it| it.node.run(&it.jobs)).collect() };
        let (checked, ended) = thread::scope(|scope| {
            let running: Vec<_> = lanes.iter().map(|it| scope.spawn(|| run(it))).collect();
            let checked = scope.spawn(|| with_low_priority(aside)).join();
            let ended: Vec<_> = running.into_iter().map(ScopedJoinHandle::join).collect();
            (checked, ended)
        });
        let checked = checked.unwrap_or_else(|panic| resume_unwind(panic))?;
        self.checks.extend(checked.checks);
        self.not_run.extend(checked.not_run);
        for (lane, ended) in lanes.iter().zip(ended) {
            let outcomes = ended.unwrap_or_else(|panic| resume_unwind(panic));
            for (planned, outcomes) in lane.iter().zip(outcomes) {
                for outcome in outcomes? {
                    let name = format!("suite {} on the {}", outcome.name, planned.name);
                    self.add(&name, outcome.code == 0, outcome.took);
                }
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

    /// Adds checks that this machine cannot run.
    pub(crate) fn add_not_run(&mut self, name: &str, reason: &anyhow::Error) {
        self.not_run.push(format!("{name}: {reason:#}"));
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
        for one in &self.not_run {
            println!("NOT RUN {one}");
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

/// Runs checks with a lower priority than the nodes.
fn with_low_priority(checks: impl FnOnce(&mut Report) -> Result<()>) -> Result<Report> {
    let thread = std::fs::read_link("/proc/thread-self")?;
    let id = thread.file_name().unwrap_or_default();
    // Child processes inherit the priority of this thread. A machine without `renice` is only slower.
    let mut renice = Command::new("renice");
    let _ = renice.args(["-n", "10", "-p"]).arg(id).output();
    let mut report = Report::default();
    checks(&mut report)?;
    Ok(report)
}
