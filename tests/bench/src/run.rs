//! `cargo lab bench`: what both programs cost, on the emulated node and on constructed trees.
//!
//! Times are told with their spread and never judged: machines are shared and noisy. Counts are judged by the suites.

pub mod cni;
pub mod confined;
pub mod counts;
pub mod device_plugin;
pub mod figure;
pub mod growth;
pub mod machine;
pub mod node;
pub mod plot;
pub mod process;
pub mod program;
pub mod report;
pub mod rtnl;
pub mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::confined::Subject;
use self::figure::Figure;
use self::program::Program;
use self::report::{Report, Section};
use crate::lab::cache::Cache;
use crate::lab::peers::{self, PCI_IDS};
use crate::lab::qemu::{Job, Output};
use crate::lab::{build, prepare};

/// Where a peer's CNI plugin is on the node, and its device plugin.
pub const PEER_BIN: &str = "/opt/peer/bin";
/// Likewise.
pub const PEER_DEVICE_PLUGIN: &str = "/opt/peer/sriov-device-plugin";

/// What can be measured alone, in the order of the document.
const PARTS: [&str; 5] = ["cni", "counts", "node", "ports", "device-plugin"];
/// PFs of the part `ports`.
const PORTS: u8 = 16;

struct Options {
    json: Option<PathBuf>,
    peer_cni: Option<PathBuf>,
    peer_device_plugin: Option<PathBuf>,
    /// The Go plugins, where no other peer is named.
    has_peers: bool,
    /// All parts when there is none.
    only: Vec<String>,
    idle: Duration,
    into_docs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            json: None,
            peer_cni: None,
            peer_device_plugin: None,
            has_peers: false,
            only: Vec::new(),
            idle: Duration::from_mins(1),
            into_docs: false,
        }
    }
}

/// Measures, prints the tables, writes data, document and plots.
pub fn run(words: &[&str]) -> Result<bool> {
    let mut options = options(words)?;
    if options.has_peers {
        let built = peers::peers(&Cache::open()?)?;
        options.peer_cni.get_or_insert(built.cni);
        options
            .peer_device_plugin
            .get_or_insert(built.device_plugin);
    }
    let machine = machine::machine();
    let mut sections = Vec::new();
    for part in PARTS {
        if options.only.is_empty() || options.only.iter().any(|only| only == part) {
            sections.push(Section {
                part,
                command: command(part, &options),
                figures: measure(part, &options)?,
            });
        }
    }
    let report = Report { machine, sections };
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.into_docs {
        document(&report)?;
    }
    print!("{report}");
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
            "--peer-device-plugin" => options.peer_device_plugin = Some(value()?.into()),
            "--peers" => options.has_peers = true,
            "--docs" => options.into_docs = true,
            "--idle" => {
                let seconds = value()?.parse().context("--idle needs seconds")?;
                options.idle = Duration::from_secs(seconds);
            }
            "--only" => {
                for part in value()?.split(',') {
                    if !PARTS.contains(&part) {
                        bail!("--only `{part}` is not one of {}", PARTS.join(", "));
                    }
                    options.only.push(part.to_owned());
                }
            }
            other => bail!("`{other}` is no option of bench; `cargo lab help` lists them"),
        }
    }
    Ok(options)
}

/// The command that repeats a part; where a peer's program lies is everybody's own business.
fn command(part: &str, options: &Options) -> String {
    let mut command = format!("cargo lab bench --only {part}");
    if options.has_peers {
        command.push_str(" --peers");
    } else if options.peer_cni.is_some() && part != "device-plugin" {
        command.push_str(" --peer-cni FILE");
    }
    if !options.has_peers
        && options.peer_device_plugin.is_some()
        && ["node", "ports", "device-plugin"].contains(&part)
    {
        command.push_str(" --peer-device-plugin FILE");
    }
    let seconds = options.idle.as_secs();
    if part == "device-plugin" && seconds != Options::default().idle.as_secs() {
        command = format!("{command} --idle {seconds}");
    }
    command
}

fn measure(part: &str, options: &Options) -> Result<Vec<Figure>> {
    if part == "device-plugin" {
        let ours = Subject {
            program: build::dist()?.device_plugin,
            pci_ids: None,
        };
        let subject = |program: &PathBuf| -> Result<Subject> {
            Ok(Subject {
                program: program.clone(),
                pci_ids: Some(peers::pci_ids(&Cache::open()?)?),
            })
        };
        let peer = options.peer_device_plugin.as_ref().map(subject);
        return device_plugin::figures(&ours, peer.transpose()?.as_ref(), options.idle);
    }
    on_node(part, options)
}

fn on_node(part: &str, options: &Options) -> Result<Vec<Figure>> {
    let (cache, mut node) = prepare()?;
    node.make_parallel();
    if part == "ports" {
        node.set_ports(PORTS);
    }
    for name in ["guest-bench", "guest-empty"] {
        node.add_file(&format!("opt/virtfn/{name}"), &build::guest_binary(name)?)?;
    }
    let inside = |path: &str| path.trim_start_matches('/').to_owned();
    if let Some(peer) = &options.peer_cni {
        node.add_file(&format!("{}/sriov", inside(PEER_BIN)), peer)?;
    }
    if let Some(peer) = &options.peer_device_plugin {
        node.add_file(&inside(PEER_DEVICE_PLUGIN), peer)?;
        node.add_file(PCI_IDS, &peers::pci_ids(&cache)?)?;
    }
    let outcomes = node.run(&[Job {
        name: "bench".to_owned(),
        argv: vec!["/opt/virtfn/guest-bench".to_owned(), part.to_owned()],
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
    // Lines that are no figure are signs of life.
    let figures = outcome.lines.iter().filter(|line| line.starts_with('{'));
    let figure =
        |line: &String| serde_json::from_str(line).with_context(|| format!("the node said {line}"));
    figures.map(figure).collect()
}

/// The part of the bench that runs on the node; it prints one figure a line.
pub fn on_the_node(part: &str) -> Result<()> {
    let bins = there(crate::cni::BIN, PEER_BIN);
    let programs = bins.iter().map(|bin| Program::of(bin));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    match part {
        "cni" => cni::measure(&programs),
        "counts" => counts::measure(&programs),
        "node" => node::measure(&programs, &device_plugins(), 2, true),
        "ports" => node::measure(&programs, &device_plugins(), PORTS, false),
        other => bail!("`{other}` is no part that is measured on the node"),
    }
}

fn device_plugins() -> Vec<PathBuf> {
    there("/opt/virtfn/sriov-device-plugin", PEER_DEVICE_PLUGIN)
}

/// Ours, and the peer's when it is there.
fn there(ours: &str, peer: &str) -> Vec<PathBuf> {
    let peer = Path::new(peer);
    let peer = peer.exists().then(|| peer.to_owned());
    [PathBuf::from(ours)].into_iter().chain(peer).collect()
}

/// A figure on its way from the node.
fn tell(figure: &Figure) -> Result<()> {
    println!("{}", serde_json::to_string(figure)?);
    Ok(())
}

fn document(report: &Report) -> Result<()> {
    let docs = build::workspace().join("docs");
    let path = docs.join("benchmarks.md");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, report.into_document(&text)?)?;
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots)?;
    for (name, plot) in plot::all(report)? {
        fs::write(plots.join(name), plot)?;
    }
    Ok(())
}
