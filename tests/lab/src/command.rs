//! The command line of `cargo lab`: its words, its help, its exit codes.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::checkout::cargo;
use crate::kubernetes::{self, render};
use crate::qemu::{Job, Output};
use crate::{arm64, build, check, container, gate, plain, release, ship};

/// The output of `cargo lab help`.
pub const HELP: &str = "\
usage: cargo lab COMMAND

  demo [--json]     the main job on an emulated node, as a story or as data
  check             format, lints, unit tests and house rules; boots nothing
  test [--kubernetes]
                    the whole gate: format, lints, docs, unit tests, licences, suites on real VFs;
                    --kubernetes adds the suites of `cargo lab kubernetes`, as in CI
  test SUITE...     only these suites on the node (smoke, host, cni, device_plugin, allocate, ...)
  bench [--only PART,..] [--idle SECONDS] [--json FILE] [--docs] [--peers | --peer-cni FILE --peer-device-plugin FILE]
                    measures both programs, optionally alongside the Go plugins (needs Go) or other static programs
                    with the same command line; PART is cni, counts, node, ports or device-plugin;
                    --docs writes docs/benchmarks
  manifests [--write]
                    renders kustomize base and chart with kubectl and helm (needs Go), and compares them
                    with tests/golden/; --write updates the files
  kubernetes [SUITE...] [--version V] [--rounds N] [--peer-cni FILE] [--peer-device-plugin FILE]
                    suites with real components of Kubernetes V, 1.37 (default) or 1.34, on the node
                    (needs Go); the suite `life` creates and deletes its pods N times (default 1);
                    the suites `dropin` and `upgrade` run these Go plugins instead of those that Go built
  shell             a shell on the node; `poweroff -f` ends it
  dist [--target amd64|arm64|all]
                    the static binaries that ship, in target/dist/ (default: amd64)
  image [--verify] [--target amd64|arm64|all]
                    the container images that ship, in target/dist/images.tar, for both architectures
                    (or one); --verify builds them a second time from a copy of the sources, and compares
  arm64             runs the programs for arm64 in QEMU's emulation of one process
  release [DIR | --verify]
                    a complete release in DIR (default: target/release-VERSION): images, chart, manifests,
                    binaries, bills of materials, changelog entry, checksums; --verify makes it twice and compares
  help              this text

environment
  VIRTFN_CACHE      where downloads are kept (default: $XDG_CACHE_HOME/virtfn or ~/.cache/virtfn)
  VIRTFN_ACCEL      `tcg` or `kvm` instead of trying KVM and falling back
  VIRTFN_SEED       the random scripts of the suite `cni_hostile`, to repeat a run (printed by each run)
  VIRTFN_ROUNDS     their number (default 8)
  VIRTFN_STRIDE     that suite kills a restart of the driver at one of so many system calls (default 4)
";

/// Runs one command of the lab and gives the exit code of the process: 0 success, 1 failure, 2 wrong usage.
pub fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo"] => demo(false),
        ["demo", "--json"] => demo(true),
        ["check"] => check::run(),
        ["test"] => gate::run(false),
        ["test", "--kubernetes"] => gate::run(true),
        ["test", suites @ ..] => gate::run_suites(suites),
        ["bench", options @ ..] => bench(options),
        ["kubernetes", words @ ..] => kubernetes::run(words),
        ["manifests"] => render::run(false),
        ["manifests", "--write"] => render::run(true),
        ["shell"] => shell(),
        ["dist", words @ ..] => ship::dist(words),
        ["image", words @ ..] => ship::run(words),
        ["arm64"] => arm64::run(),
        ["release", "--verify"] => release::check(build::whole_dist),
        ["release", words @ ..] => release::run(words),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        other => {
            eprintln!(
                "lab: unknown command `{}`: `cargo lab help` lists the commands",
                other.join(" ")
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            if container::helps(&error) {
                let has_kvm = Path::new("/dev/kvm").exists();
                let command = container::command(&words, has_kvm);
                eprintln!("lab: with Docker or podman, this runs in Debian: {command}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Builds and runs the bench, a separate program: no other command of the lab links the library for plots.
fn bench(options: &[&str]) -> Result<bool> {
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "sriov-bench",
        "--bin",
        "bench",
    ]);
    let status = command.arg("--").args(options).status();
    Ok(status.context("cannot start cargo")?.success())
}

fn demo(json: bool) -> Result<bool> {
    let (_cache, mut node) = plain::prepare()?;
    node.add_file(
        "opt/virtfn/guest-demo",
        &build::guest_binary("sriov-demo", "guest-demo")?,
    )?;
    let mut argv = vec!["/opt/virtfn/guest-demo".to_owned()];
    argv.extend(json.then(|| "--json".to_owned()));
    let outcomes = node.run(&[Job {
        name: "demo".to_owned(),
        argv,
        output: Output::StdoutOnly,
    }])?;
    let [outcome] = outcomes.as_slice() else {
        bail!("the node ran no demo")
    };
    if outcome.code != 0 {
        eprintln!(
            "lab: the demo failed; the node's console ends with:\n{}",
            node.console_tail(40).context("no console")?
        );
    }
    Ok(outcome.code == 0)
}

fn shell() -> Result<bool> {
    let (_cache, mut node) = plain::prepare()?;
    node.shell()
}
