//! `cargo lab bench`: what both programs cost, on the emulated node and on constructed trees.
//!
//! Times are told with their spread and never judged: machines are shared and noisy. Counts are judged by the suites.

pub mod cni;
pub mod device_plugin;
pub mod figure;
pub mod tree;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::figure::{Figure, Report};
use crate::lab::build;
use crate::lab::prepare;
use crate::lab::qemu::{Job, Output};

/// Where a peer's CNI plugin is on the node.
pub const PEER: &str = "/opt/peer/bin";

#[derive(Default)]
struct Options {
    json: Option<PathBuf>,
    peer_cni: Option<PathBuf>,
    only: Option<String>,
}

/// Measures, prints the table, writes the data.
pub fn run(words: &[&str]) -> Result<bool> {
    let options = options(words)?;
    let is_wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    let mut figures = Vec::new();
    if is_wanted("cni") {
        figures.extend(on_node(&options)?);
    }
    if is_wanted("device-plugin") {
        figures.extend(device_plugin::figures(&build::dist()?.device_plugin)?);
    }
    let report = Report {
        machine: machine(),
        figures,
    };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{report}");
    Ok(true)
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let value = words.next();
            value.with_context(|| format!("{word} needs a value"))
        };
        match *word {
            "--json" => options.json = Some(value()?.into()),
            "--peer-cni" => options.peer_cni = Some(value()?.into()),
            "--only" => match *value()? {
                part @ ("cni" | "device-plugin") => options.only = Some(part.to_owned()),
                other => bail!("--only `{other}` is not one of cni, device-plugin"),
            },
            other => bail!("`{other}` is no option of bench; `cargo lab help` lists them"),
        }
    }
    Ok(options)
}

fn on_node(options: &Options) -> Result<Vec<Figure>> {
    let (_cache, mut node) = prepare()?;
    for name in ["guest-bench", "guest-empty"] {
        node.add_file(&format!("opt/virtfn/{name}"), &build::guest_binary(name)?)?;
    }
    let mut argv = vec!["/opt/virtfn/guest-bench".to_owned()];
    if let Some(peer) = &options.peer_cni {
        node.add_file(&format!("{}/sriov", PEER.trim_start_matches('/')), peer)?;
        argv.push(PEER.to_owned());
    }
    let outcomes = node.run(&[Job {
        name: "bench".to_owned(),
        argv,
        output: Output::Kept,
    }])?;
    let [outcome] = outcomes.as_slice() else {
        bail!("the node ran no bench")
    };
    if outcome.code != 0 {
        bail!(
            "the bench failed on the node, whose console said:\n{}",
            node.console_tail(20).unwrap_or_default()
        );
    }
    let figures = outcome
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the node said `{line}`")));
    figures.collect()
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |line| line.trim_start_matches([' ', '\t', ':']));
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(build::workspace())
        .output();
    let commit = commit.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "{count} × {model}, Linux {}, commit {commit}",
        read("/proc/sys/kernel/osrelease").trim()
    )
}
