//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The parts of `--only`, in the order of the document.
pub const PARTS: [&str; 6] = [
    "cni",
    "counts",
    "node",
    "ports",
    "device-plugin",
    "dra-driver",
];
/// Number of PFs of the part `ports`.
pub const PORTS: u8 = 16;

/// The parsed command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// File for the data.
    pub json: Option<PathBuf>,
    /// Another CNI plugin.
    pub peer_cni: Option<PathBuf>,
    /// Another device plugin.
    pub peer_device_plugin: Option<PathBuf>,
    /// Whether the Go plugins are the peers, unless another peer is given.
    pub has_peers: bool,
    /// Selected parts; empty for all.
    pub only: Vec<String>,
    /// Duration of the measurement of the idle device plugin.
    pub idle: Duration,
    /// Whether `docs/benchmarks` is written.
    pub into_docs: bool,
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

impl Options {
    /// Parses the arguments.
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
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
                other => {
                    bail!("unknown option `{other}` of bench: `cargo lab help` lists the options")
                }
            }
        }
        Ok(options)
    }

    /// The command that repeats a part, without the paths of a peer's programs.
    pub fn command(&self, part: &str) -> String {
        let mut command = format!("cargo lab bench --only {part}");
        if self.has_peers {
            command.push_str(" --peers");
        } else if self.peer_cni.is_some() && part != "device-plugin" {
            command.push_str(" --peer-cni FILE");
        }
        if !self.has_peers
            && self.peer_device_plugin.is_some()
            && ["node", "ports", "device-plugin"].contains(&part)
        {
            command.push_str(" --peer-device-plugin FILE");
        }
        let seconds = self.idle.as_secs();
        if part == "device-plugin" && seconds != Options::default().idle.as_secs() {
            command = format!("{command} --idle {seconds}");
        }
        command
    }
}
