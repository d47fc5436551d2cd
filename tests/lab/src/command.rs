//! `cargo lab`: an emulated SR-IOV node on which the real thing runs, and the gate that uses it.
//!
//! Start at [`main`]: it maps words to work. `fetch` gets what the node needs, `image` makes its initramfs, `qemu` boots it and runs jobs.

pub mod build;
pub mod cache;
pub mod fetch;
pub mod gate;
pub mod image;
pub mod kubernetes;
pub mod oci;
pub mod peers;
pub mod progress;
pub mod qemu;
pub mod ship;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::cache::Cache;
use self::qemu::{Job, Node, Output};

/// What `cargo lab help` says.
pub const HELP: &str = "\
usage: cargo lab COMMAND

  demo [--json]     the main job on an emulated node, as a story or as data
  test [--kubernetes]
                    the whole gate: format, lints, docs, unit tests, licences, suites on real VFs;
                    --kubernetes runs beside them those of `cargo lab kubernetes`, as CI does
  test SUITE...     only these suites on the node (smoke, host, cni, device_plugin, allocate, ...)
  bench [--only PART,..] [--idle SECONDS] [--json FILE] [--docs] [--peers | --peer-cni FILE --peer-device-plugin FILE]
                    what both programs cost, as tables and as data, beside the Go plugins (needs Go) or other static
                    programs with the same command line; PART is cni, counts, node, ports or device-plugin;
                    --docs writes docs/benchmarks
  manifests [--write]
                    renders kustomize base and chart with kubectl and helm (needs Go) and compares
                    with tests/golden/, or writes that
  kubernetes [SUITE...] [--rounds N]
                    suites with real kubelet, containerd and Multus on the node (needs Go); pods of
                    the suite `life` come and go N times (default 2)
  shell             a prompt on the node; `poweroff -f` leaves it
  dist              the static binaries that ship, in target/dist/
  image [--verify]  the container images that ship, in target/dist/images.tar; --verify builds
                    them once more from a copy of the sources and compares
  help              this text

environment
  VIRTFN_CACHE      where downloads are kept (default: $XDG_CACHE_HOME/virtfn or ~/.cache/virtfn)
  VIRTFN_ACCEL      `tcg` or `kvm` instead of trying KVM and falling back
";

/// Runs one command of the lab and gives the exit code of the process: 0 success, 1 failure, 2 wrong usage.
pub fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo"] => demo(false),
        ["demo", "--json"] => demo(true),
        ["test"] => gate::run(false),
        ["test", "--kubernetes"] => gate::run(true),
        ["test", suites @ ..] => gate::run_suites(suites),
        ["bench", options @ ..] => crate::bench::run(options),
        ["kubernetes", words @ ..] => kubernetes::run(words),
        ["manifests"] => kubernetes::manifests::run(false),
        ["manifests", "--write"] => kubernetes::manifests::run(true),
        ["shell"] => shell(),
        ["dist"] => build::dist().map(|_| true),
        ["image"] => ship::run(false),
        ["image", "--verify"] => ship::run(true),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        other => {
            eprintln!(
                "lab: `{}` is no command; `cargo lab help` lists them",
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
            ExitCode::FAILURE
        }
    }
}

/// The parts that every use of the node needs: downloads and the binaries that ship.
pub(crate) fn prepare() -> Result<(Cache, Node)> {
    let cache = Cache::open()?;
    let parts = fetch::node_parts(&cache)?;
    let binaries = build::dist()?;
    let mut node = Node::new(&cache, &parts)?;
    node.add_file("opt/cni/bin/sriov", &binaries.cni)?;
    node.add_file("opt/virtfn/sriov-device-plugin", &binaries.device_plugin)?;
    Ok((cache, node))
}

fn demo(json: bool) -> Result<bool> {
    let (_cache, mut node) = prepare()?;
    node.add_file("opt/virtfn/guest-demo", &build::guest_binary("guest-demo")?)?;
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
            "lab: the demo failed; the node's console said:\n{}",
            node.console_tail(40).context("no console")?
        );
    }
    Ok(outcome.code == 0)
}

fn shell() -> Result<bool> {
    let (_cache, mut node) = prepare()?;
    node.shell()
}
