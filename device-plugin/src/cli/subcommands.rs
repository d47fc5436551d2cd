//! The subcommands that show something and change nothing: `check-config`, `inventory`, `explain`, `capture`.
//!
//! This file reads the files and queries the kubelet once; the modules below make the texts, from data.

mod check_config;
mod device;
mod explain;
mod inventory;
mod machine;
mod table;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sriov_config::ResourceList;
use sriov_device_info::claims::ClaimStore;
use sriov_host::snapshot::HostSnapshot;
use sriov_host::sysfs::ScanError;
use sriov_host::{HostRoot, chain};
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::{Pool, Pools};
use sriov_node::counts::Shared;
use sriov_node::discover::pipeline::Pipeline;
use sriov_node::discover::scan::scan;
use sriov_node::holders::{claims, journal, pod_resources};
use sriov_node::machine::{CaptureError, ConstructError, MachineError};

use self::machine::Place;
pub(crate) use self::table::Paint;
use super::command::Command;
use crate::settings::Settings;

/// The exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Exit code 0.
    Good,
    /// Exit code 1: the configuration is wrong, or the subject does not exist; the answer states which.
    Bad,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::SUCCESS,
            Verdict::Bad => Self::FAILURE,
        }
    }
}

/// A subcommand could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubcommandError {
    /// The configuration could not be read.
    #[error("cannot read the configuration `{}`", path.display())]
    ReadConfig { path: PathBuf, source: io::Error },
    /// The devices could not be found.
    #[error("cannot find the devices")]
    Scan(#[source] ScanError),
    /// The machine file could not be read.
    #[error("cannot read the machine file `{}`", path.display())]
    ReadMachine { path: PathBuf, source: io::Error },
    /// The machine file is wrong.
    #[error("cannot use the machine file `{}`", path.display())]
    WrongMachine { path: PathBuf, source: MachineError },
    /// The machine of the file could not be constructed.
    #[error("cannot construct the machine of the file")]
    Construct(#[source] ConstructError),
    /// This machine could not be captured.
    #[error("cannot capture this machine")]
    Capture(#[source] CaptureError),
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// This machine with the pools of a configuration.
struct NodeView {
    list: ResourceList,
    pipeline: Pipeline,
    pools: Pools,
    owners: Owners,
}

/// Runs a subcommand; writes the answer to `out`, and what could not be read to `notes`.
///
/// # Errors
/// When the configuration or the devices cannot be read, or the answer cannot be written.
pub(crate) async fn run(
    settings: &Settings,
    command: &Command,
    paint: Paint,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<Verdict, SubcommandError> {
    let (text, verdict) = match command {
        Command::CheckConfig {
            file,
            is_explained,
            machine,
        } => {
            let parsed = ResourceList::parse(&read_config(file)?, &settings.resource_prefix);
            let (mut text, verdict) = check_config::report(&file.display(), &parsed, paint);
            if let (true, Ok(list)) = (is_explained, parsed) {
                let place = Place::of(settings, machine.as_deref())?;
                let node = NodeView::look(place.host(), list, None, Owners::default())?;
                text += "\n";
                for pool in &node.pools.pools {
                    text += &explain::pool(&node, pool, paint);
                }
            }
            (text, verdict)
        }
        Command::Inventory { is_json, machine } => {
            let node = NodeView::of(settings, machine.as_deref(), notes).await?;
            let rows = inventory::rows(&node);
            let text = if *is_json {
                inventory::json(&node, &rows)
            } else {
                inventory::text(&node, &rows, paint)
            };
            (text, Verdict::Good)
        }
        Command::Explain { subject, machine } => {
            let node = NodeView::of(settings, machine.as_deref(), notes).await?;
            explain::subject(&node, subject, paint)
        }
        Command::Capture { keep_names } => {
            let text = machine::captured(&settings.host, *keep_names, notes)?;
            (text, Verdict::Good)
        }
    };
    match out.write_all(text.as_bytes()) {
        // The reader has closed the pipe: `inventory | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(verdict),
        written => written.map(|()| verdict).map_err(SubcommandError::Write),
    }
}

impl NodeView {
    /// Looks at this machine or at that of a machine file, which has no holders.
    async fn of(
        settings: &Settings,
        machine: Option<&Path>,
        notes: &mut dyn Write,
    ) -> Result<Self, SubcommandError> {
        let list = known_config(settings, notes)?;
        let place = Place::of(settings, machine)?;
        let (owners, claims) = match place {
            Place::Here(_) => (
                owners(settings, notes).await?,
                Some(ClaimStore::below(&settings.cni_dir)),
            ),
            Place::File(_) => (Owners::default(), None),
        };
        Self::look(place.host(), list, claims, owners)
    }

    /// Looks at the machine once, through the same pipeline as the daemon.
    fn look(
        host: &HostRoot,
        list: ResourceList,
        claims: Option<ClaimStore>,
        owners: Owners,
    ) -> Result<Self, SubcommandError> {
        let scanned = scan(host, &Shared::default()).map_err(SubcommandError::Scan)?;
        let mut pipeline = Pipeline::single(host, &list, claims, scanned);
        let (pools, _) = pipeline.pools(&owners);
        Ok(Self {
            list,
            pipeline,
            pools,
            owners,
        })
    }

    fn snapshot(&self) -> &HostSnapshot {
        self.pipeline.snapshot()
    }

    /// The pool that has a device.
    fn pool_of(&self, id: &DeviceId) -> Option<&Pool> {
        let has = |pool: &&Pool| pool.ids().contains(id);
        self.pools.pools.iter().find(has)
    }
}

/// Learns who holds the devices; a machine without kubelet has devices as well.
async fn owners(settings: &Settings, notes: &mut dyn Write) -> Result<Owners, SubcommandError> {
    let mut owners = Owners::default();
    let socket = pod_resources::socket(&settings.kubelet_dir);
    let answer = pod_resources::query(&socket, pod_resources::DEADLINE).await;
    if let Err(error) = answer.and_then(|answer| answer.update(&mut owners)) {
        note(notes, &format!("{}; holders are not known", chain(&error)))?;
    }
    match journal::attachments(&settings.host, &settings.cni_dir) {
        Ok(attachments) => owners.attachments = attachments,
        Err(error) => {
            let dir = settings.cni_dir.display();
            let text = format!("cannot read the CNI plugin's journal `{dir}`: {error}");
            note(notes, &text)?;
        }
    }
    match claims::claims(&ClaimStore::below(&settings.cni_dir)) {
        Ok(claims) => owners.claims = claims,
        Err(error) => note(notes, &format!("{}; claims are not known", chain(&error)))?,
    }
    Ok(owners)
}

fn read_config(path: &Path) -> Result<String, SubcommandError> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_bytes| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| SubcommandError::ReadConfig {
        path: path.to_owned(),
        source,
    })
}

/// The configuration as the plugin uses it; a wrong or missing one is noted, and has no resources.
fn known_config(
    settings: &Settings,
    notes: &mut dyn Write,
) -> Result<ResourceList, SubcommandError> {
    let nothing = ResourceList {
        resources: Vec::new(),
        unusable: Vec::new(),
        warnings: Vec::new(),
    };
    let text = match read_config(&settings.config_file) {
        Ok(text) => text,
        Err(error) => {
            note(notes, &format!("{}; pools are not known", chain(&error)))?;
            return Ok(nothing);
        }
    };
    let file = settings.config_file.display();
    match ResourceList::parse(&text, &settings.resource_prefix) {
        Ok(list) => {
            for mistake in list.mistakes() {
                note(notes, &format!("{file}: {mistake}"))?;
            }
            Ok(list)
        }
        Err(refused) => {
            for mistake in &refused.mistakes.0 {
                note(notes, &format!("{file}: {mistake}"))?;
            }
            Ok(nothing)
        }
    }
}

fn note(notes: &mut dyn Write, text: &str) -> Result<(), SubcommandError> {
    writeln!(notes, "{text}").map_err(SubcommandError::Write)
}
