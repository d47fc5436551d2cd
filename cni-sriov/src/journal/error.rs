//! Why the state directory cannot be used, or a VF not be taken.

use std::io;
use std::path::PathBuf;

use sriov_host::{IfName, PciAddress};

/// The state directory cannot be used, or shows that a VF is not the caller's.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// A file is torn or holds something else.
    #[error("`{}` is not a saved attachment", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Place and reason.
        source: serde_json::Error,
    },
    /// A file was written by a later version of this plugin; it is left alone.
    #[error("`{}` has version {version} of the format, which this plugin does not support: use the later version of the plugin that wrote it", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// Network, container id and interface name of its attachment, as far as the file has them under these keys.
        owner: [Option<String>; 3],
    },
    /// Another call works on the VF.
    #[error("VF {0} is locked by another call")]
    Locked(PciAddress),
    /// The VF belongs to another attachment.
    #[error("VF {device} is attached to container `{container_id}` as `{ifname}`")]
    Busy {
        /// The VF.
        device: PciAddress,
        /// Id of the container that has it.
        container_id: String,
        /// Name of its interface in that container.
        ifname: IfName,
    },
    /// The VF belongs to an attachment of the Go plugin.
    #[error("VF {0} is attached by another plugin to a network namespace that still exists")]
    BusyElsewhere(PciAddress),
    /// The VF is not attached to this container under this name.
    #[error("VF {0} is not attached to this container under this name")]
    NotAttached(PciAddress),
}

impl JournalError {
    /// Whether this is about a file of a later version whose attachment has this network, container id and interface name;
    /// `None` when the file does not show its attachment, or is another one.
    pub(crate) fn is_later_of(&self, key: [&str; 3]) -> Option<bool> {
        match self {
            Self::Later {
                owner: [Some(network), Some(container_id), Some(ifname)],
                ..
            } => Some(key == [network, container_id, ifname]),
            Self::Later { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Content { .. }
            | Self::Locked(_)
            | Self::Busy { .. }
            | Self::BusyElsewhere(_)
            | Self::NotAttached(_) => None,
        }
    }
}
