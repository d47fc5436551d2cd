//! Why nothing was installed.

use std::io;
use std::path::PathBuf;

/// Nothing was installed, and an existing program is unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// An unknown argument, or a flag without its value.
    #[error(transparent)]
    Arguments(#[from] lexopt::Error),
    /// The program to install, or the installed one, cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// The path of a program without a file name.
    #[error("`{}` is not the path of a program", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The directory is missing, or cannot be locked.
    #[error("cannot use the directory `{}`: mount the runtime's plugin directory there, or name another with --cni-bin-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// The directory belongs to another user, and this process may not write to it.
    #[error("`{}` belongs to user {owner}: the installer needs the capability DAC_OVERRIDE to write there, in the chart `cni.capabilities: [DAC_OVERRIDE]`", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Id of its owner.
        owner: u32,
        /// Error of the system call.
        source: io::Error,
    },
    /// The program cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The program.
        path: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// The wait for a signal failed.
    #[error("cannot wait for a signal")]
    Signal(#[source] nix::Error),
}

impl InstallError {
    /// Exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Arguments(_) => 2,
            Self::Read { .. }
            | Self::NoName { .. }
            | Self::Directory { .. }
            | Self::Owner { .. }
            | Self::Write { .. }
            | Self::Signal(_) => 1,
        }
    }
}
