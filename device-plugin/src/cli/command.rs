//! The subcommands, as the command line names them.

use std::path::PathBuf;

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Checks a configuration.
    CheckConfig {
        /// The file, `-` for standard input.
        file: PathBuf,
        /// Whether its pools on this machine are shown as well.
        is_explained: bool,
        /// The machine file to use instead of this machine.
        machine: Option<PathBuf>,
    },
    /// Lists the devices of this machine.
    Inventory {
        /// As JSON instead of a table.
        is_json: bool,
        /// The machine file to use instead of this machine.
        machine: Option<PathBuf>,
    },
    /// Shows why a device is in a pool or in none, or which devices a resource has.
    Explain {
        /// Device or resource.
        subject: String,
        /// The machine file to use instead of this machine.
        machine: Option<PathBuf>,
    },
    /// Prints a machine file of this machine.
    Capture {
        /// Whether the names of devices stay as they are.
        keep_names: bool,
    },
}
