//! Measures the selected parts, on the node and on this machine, prints the tables and writes the document.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sriov_lab::architecture::Architecture;
use sriov_lab::cache::Cache;
use sriov_lab::checkout::workspace;
use sriov_lab::peers::{self, PCI_IDS, PEER_BIN, PEER_DEVICE_PLUGIN};
use sriov_lab::qemu::{Job, Output};
use sriov_lab::{build, plain};

use crate::confined::Subject;
use crate::figure::Figure;
use crate::options::{Options, PARTS, PORTS};
use crate::report::{Report, Section};
use crate::{device_plugin, dra_driver, machine, plot};

/// Measures, prints the tables, and writes data, document and plots.
pub fn run(words: &[String]) -> Result<()> {
    let mut options = Options::parse(words)?;
    if options.has_peers {
        let cache = Cache::open()?;
        if options.peer_cni.is_none() {
            options.peer_cni = Some(peers::cni(&cache)?);
        }
        if options.peer_device_plugin.is_none() {
            options.peer_device_plugin = Some(peers::device_plugin(&cache)?);
        }
    }
    let machine = machine::machine();
    let mut sections = Vec::new();
    for part in PARTS {
        if options.only.is_empty() || options.only.iter().any(|only| only == part) {
            sections.push(Section {
                part,
                command: options.command(part),
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
    Ok(())
}

fn measure(part: &str, options: &Options) -> Result<Vec<Figure>> {
    if part == "device-plugin" {
        let ours = Subject {
            program: build::dist(Architecture::Amd64)?.device_plugin,
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
    if part == "dra-driver" {
        let program = build::whole_dist(Architecture::Amd64)?.dra_driver;
        return dra_driver::figures(&program.context("no DRA driver was built")?);
    }
    on_node(part, options)
}

fn on_node(part: &str, options: &Options) -> Result<Vec<Figure>> {
    let (cache, mut node) = plain::prepare()?;
    node.make_parallel();
    if part == "ports" {
        node.set_ports(PORTS);
    }
    for name in ["guest-bench", "guest-empty", "guest-floor"] {
        node.add_file(
            &format!("opt/virtfn/{name}"),
            &build::guest_binary("sriov-bench", name)?,
        )?;
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
            "the bench failed on the node; its console ends with:\n{}",
            node.console_tail(20).unwrap_or_default()
        );
    }
    // Other lines only prevent the limit of silence.
    let figures = outcome.lines.iter().filter(|line| line.starts_with('{'));
    let figure = |line: &String| {
        serde_json::from_str(line).with_context(|| format!("cannot read the figure {line}"))
    };
    figures.map(figure).collect()
}

fn document(report: &Report) -> Result<()> {
    let docs = workspace().join("docs");
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
