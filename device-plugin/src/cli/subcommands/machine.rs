//! Machine files: a replay of one instead of this machine, and `capture`, which prints one of this machine.

use std::fs;
use std::io::Write;
use std::path::Path;

use sriov_host::HostRoot;
use sriov_node::machine::{Captured, Constructed, Machine, anonymous, capture};

use super::{SubcommandError, note};
use crate::settings::Settings;

/// Where the devices are.
pub(super) enum Place {
    /// On this machine, or below the root of the settings.
    Here(HostRoot),
    /// In a machine that was constructed from a file.
    File(Constructed),
}

impl Place {
    /// This machine, or that of a machine file.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong.
    pub(super) fn of(settings: &Settings, machine: Option<&Path>) -> Result<Self, SubcommandError> {
        let Some(path) = machine else {
            return Ok(Self::Here(settings.host.clone()));
        };
        let owned = || path.to_owned();
        let text = fs::read_to_string(path).map_err(|source| SubcommandError::ReadMachine {
            path: owned(),
            source,
        })?;
        let machine = Machine::parse(&text).map_err(|source| SubcommandError::WrongMachine {
            path: owned(),
            source,
        })?;
        let constructed = Constructed::new(&machine).map_err(SubcommandError::Construct)?;
        Ok(Self::File(constructed))
    }

    pub(super) fn host(&self) -> &HostRoot {
        match self {
            Self::Here(host) => host,
            Self::File(constructed) => constructed.root(),
        }
    }
}

/// The machine file of a machine; notes what it lacks, and the names to use in a resource list.
///
/// # Errors
/// When the devices cannot be listed.
pub(super) fn captured(
    host: &HostRoot,
    keep_names: bool,
    notes: &mut dyn Write,
) -> Result<String, SubcommandError> {
    let Captured { machine, missing } = capture(host).map_err(SubcommandError::Capture)?;
    for missing in missing {
        note(notes, &missing)?;
    }
    let anonymous = anonymous(&machine, keep_names);
    for (old, new) in &anonymous.names {
        note(notes, &format!("the name `{old}` is `{new}` in the file"))?;
    }
    Ok(anonymous.machine.to_text())
}
