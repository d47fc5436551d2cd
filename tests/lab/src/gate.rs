//! `cargo lab test`: every check that a change must pass, the cheap ones first.

use std::process::Command;

use anyhow::Result;

use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::checkout::{cargo, workspace};
use crate::kubernetes::{self, CLAIMS, Choice, render};
use crate::report::{Planned, Report};
use crate::suites::{Kind, Suites};
use crate::{arm64, build, check, debian, ground, plain, release, tools};

const PACKAGES: &[&[&str]] = &[
    &["sriov-host"],
    &["sriov-host", "--features", "sysfs"],
    &["sriov-host", "--features", "netlink"],
    &["sriov-config"],
    &["sriov-device-info"],
    &["sriov-inventory"],
    &["sriov-node"],
    &["sriov-device-plugin"],
    &["sriov-dra-driver"],
    &["sriov-cni"],
    &["sriov-lab"],
    &["sriov-testkit"],
    &["sriov-bench"],
    &["sriov-demo"],
    &["sriov-suites"],
];

/// Runs the whole gate, with or without the suites on a Kubernetes node; true if all checks passed.
///
/// The nodes start after the checks that fail most often; the other checks run at the same time.
pub fn run(with_kubernetes: bool) -> Result<bool> {
    // A machine that cannot run a node is reported before anything is built.
    debian::node_parts(&Cache::open()?)?;
    let mut report = Report::default();
    check::sources(&mut report)?;
    report.command(
        "unit and property tests, arrows, house rules",
        cargo().args(["test", "--quiet", "--workspace", "--no-fail-fast"]),
    )?;
    let plain = plain_node(&[])?;
    if with_kubernetes {
        let all = Kind::Kube.suites()?;
        let names = all.iter().map(String::as_str);
        let (claims, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with(CLAIMS));
        let (others, _plane) = kubernetes::prepare(&Choice::of("Kubernetes node", &others))?;
        let (claims, _plane) = kubernetes::prepare(&Choice::of("DRA node", &claims))?;
        report.nodes(vec![vec![others], vec![plain, claims]], |report| {
            packages(report)?;
            report.step("rendered manifests", || render::run(false))?;
            other_architectures(report)
        })?;
    } else {
        report.nodes(vec![vec![plain]], packages)?;
    }
    Ok(report.print())
}

/// Checks the programs for arm64 and a release, unless this machine cannot build for arm64.
///
/// Rust's library for arm64 comes from a server that some networks do not reach; the report names what did not run.
fn other_architectures(report: &mut Report) -> Result<()> {
    if let Err(error) = Architecture::Arm64.prepare() {
        report.add_not_run("programs for arm64, a release", &error);
        return Ok(());
    }
    // Without the DRA driver, whose build takes minutes for each architecture.
    arm64::check(report, build::dist)?;
    report.step("a release, twice", || release::check(build::dist))
}

/// Checks the documentation, each package alone, and what the packages depend on.
fn packages(report: &mut Report) -> Result<()> {
    let words = "doc --quiet --workspace --no-deps --all-features";
    report.command(
        "documentation",
        cargo()
            .args(words.split(' '))
            .env("RUSTDOCFLAGS", "-D warnings"),
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
    let words = "check --hide-inclusion-graph bans licenses sources";
    report.command(
        "licences, bans and sources",
        deny(&cache)?.args(words.split(' ')),
    )
}

/// Runs suites on the node; true when all of them passed.
pub fn run_suites(names: &[&str]) -> Result<bool> {
    debian::node_parts(&Cache::open()?)?;
    let mut report = Report::default();
    report.node(plain_node(names)?)?;
    Ok(report.print())
}

fn plain_node(names: &[&str]) -> Result<Planned> {
    let suites = Suites::build(Kind::Guest, names)?;
    let (cache, mut node) = plain::prepare()?;
    ground::add(&cache, &suites, &mut node)?;
    suites.add_to(&mut node)?;
    Ok(Planned {
        name: "node",
        node,
        jobs: suites.jobs(&passed_on()),
    })
}

/// What a suite takes from the environment: the seed of its dice, and how often it throws them.
fn passed_on() -> Vec<String> {
    let known = ["VIRTFN_SEED", "VIRTFN_ROUNDS", "VIRTFN_STRIDE"];
    let set = known.iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(format!("{name}={value}"))
    });
    set.collect()
}

/// cargo-deny, in the checkout.
fn deny(cache: &Cache) -> Result<Command> {
    let mut command = Command::new(tools::cargo_tool(cache, "cargo-deny")?);
    command.current_dir(workspace());
    Ok(command)
}
