//! The subcommands that look and tell, and change nothing: `check-config`, `inventory`, `explain`.
//!
//! This file reads files and asks kubelet once; what is said is made in the modules below, from data.

mod check_config;
mod device;
mod explain;
mod inventory;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sriov_config::ResourceList;
use sriov_host::snapshot::HostSnapshot;
use sriov_host::sysfs::{self, ScanError};

pub use self::table::Paint;
use crate::args::Setup;
use crate::asked;
use crate::health::{self, Given};
use crate::ownership::{self, Owners};
use crate::podresources;
use crate::pools::{DeviceId, Pool, Pools, plan_pools};
use crate::uplinks;

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Judges a configuration.
    CheckConfig {
        /// The file, `-` for standard input.
        file: PathBuf,
        /// Whether the pools that it gives on this machine are told, too.
        is_explained: bool,
    },
    /// Lists the devices of this machine.
    Inventory {
        /// As JSON rather than as a table.
        is_json: bool,
    },
    /// Says why a device is in a pool or in none, or which devices a resource has.
    Explain {
        /// Device or resource.
        subject: String,
    },
}

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0.
    Good,
    /// Exit code 1: what was asked for is wrong or not there, and that was told.
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
pub enum ToolError {
    /// The configuration could not be read.
    #[error("cannot read the configuration `{}`", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The devices could not be found.
    #[error("cannot find the devices")]
    Scan(#[source] ScanError),
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}

/// This machine with the pools of a configuration.
struct Node {
    list: ResourceList,
    snapshot: HostSnapshot,
    uplinks: BTreeSet<String>,
    pools: Pools,
    owners: Owners,
}

/// Runs a subcommand; the answer goes to `out`, what could not be learnt to `notes`.
///
/// # Errors
/// When there is no answer.
pub async fn run(
    setup: &Setup,
    command: &Command,
    paint: Paint,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> Result<Verdict, ToolError> {
    let (text, verdict) = match command {
        Command::CheckConfig { file, is_explained } => {
            let parsed = ResourceList::parse(&read_config(file)?, &setup.resource_prefix);
            let (mut text, verdict) = check_config::report(&file.display(), &parsed, paint);
            if let (true, Ok(list)) = (is_explained, parsed) {
                let node = Node::look(setup, list)?;
                text += "\n";
                for pool in &node.pools.pools {
                    text += &explain::pool(&node, pool, paint);
                }
            }
            (text, verdict)
        }
        Command::Inventory { is_json } => {
            let list = known_config(setup, notes)?;
            let node = Node::look(setup, list)?.with_owners(setup, notes).await?;
            let rows = inventory::rows(&node);
            let text = if *is_json {
                inventory::json(&node, &rows)
            } else {
                inventory::text(&node, &rows, paint)
            };
            (text, Verdict::Good)
        }
        Command::Explain { subject } => {
            let list = known_config(setup, notes)?;
            let node = Node::look(setup, list)?.with_owners(setup, notes).await?;
            explain::subject(&node, subject, paint)
        }
    };
    match out.write_all(text.as_bytes()) {
        // Whoever reads has read enough: `inventory | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(verdict),
        written => written.map(|()| verdict).map_err(ToolError::Write),
    }
}

impl Node {
    fn look(setup: &Setup, list: ResourceList) -> Result<Self, ToolError> {
        let mut snapshot = sysfs::scan(&setup.host).map_err(ToolError::Scan)?;
        asked::complete(&setup.host, &mut snapshot, &list);
        let uplinks = uplinks::uplinks(&setup.host);
        let (owners, given) = (Owners::default(), Given::default());
        let planned = plan_pools(&snapshot, &list, &uplinks);
        Ok(Self {
            pools: health::judge(&snapshot, &planned, &owners, &given),
            list,
            snapshot,
            uplinks,
            owners,
        })
    }

    /// The pool that has a device.
    fn pool_of(&self, id: &DeviceId) -> Option<&Pool> {
        let has = |pool: &&Pool| pool.ids().contains(id);
        self.pools.pools.iter().find(has)
    }

    /// Asks who holds the devices; a machine without kubelet has devices all the same.
    async fn with_owners(
        mut self,
        setup: &Setup,
        notes: &mut dyn Write,
    ) -> Result<Self, ToolError> {
        match podresources::ask(
            &podresources::socket(&setup.kubelet_dir),
            podresources::DEADLINE,
        )
        .await
        {
            Ok(pods) => self.owners.pods = Some(pods),
            Err(error) => note(
                notes,
                &format!("{}; holders are not known", crate::plugin::chain(&error)),
            )?,
        }
        match ownership::attachments(&setup.host, &setup.cni_dir) {
            Ok(attachments) => self.owners.attachments = attachments,
            Err(error) => note(
                notes,
                &format!(
                    "cannot read the CNI plugin's journal `{}`: {error}",
                    setup.cni_dir.display()
                ),
            )?,
        }
        self.pools = health::judge(&self.snapshot, &self.pools, &self.owners, &Given::default());
        Ok(self)
    }
}

fn read_config(path: &Path) -> Result<String, ToolError> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_bytes| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| ToolError::ReadConfig {
        path: path.to_owned(),
        source,
    })
}

/// The configuration as the plugin would take it; a wrong or missing one is told and has no resources.
fn known_config(setup: &Setup, notes: &mut dyn Write) -> Result<ResourceList, ToolError> {
    let nothing = ResourceList {
        resources: Vec::new(),
        unusable: Vec::new(),
        warnings: Vec::new(),
    };
    let text = match read_config(&setup.config_file) {
        Ok(text) => text,
        Err(error) => {
            note(
                notes,
                &format!("{}; pools are not known", crate::plugin::chain(&error)),
            )?;
            return Ok(nothing);
        }
    };
    let file = setup.config_file.display();
    match ResourceList::parse(&text, &setup.resource_prefix) {
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

fn note(notes: &mut dyn Write, text: &str) -> Result<(), ToolError> {
    writeln!(notes, "{text}").map_err(ToolError::Write)
}
