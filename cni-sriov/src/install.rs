//! `sriov install`: puts the program where the runtime looks for plugins, whole or not at all; nothing of attachments.
//!
//! It is the entry point of the container image; its flags are those of the entry point of the Go plugin's image.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lexopt::prelude::{Long, Short, Value};
use nix::sys::signal::{SigSet, Signal};

/// Mode of a plugin: everybody may run it, only root may write it.
const MODE: u32 = 0o755;

/// What `sriov --version` says; found again in an installed program, which is never run for it.
const VERSION: &str = concat!("virtfn sriov ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
usage: sriov                     as CNI plugin: request in the environment and on standard input
       sriov install [FLAGS]     put this program where the runtime looks for plugins

  --cni-bin-dir DIR      the runtime's directory (default /host/opt/cni/bin)
  --sriov-bin-file FILE  another program than this one
  --no-sleep             end after that, for an init container; else wait for SIGTERM
  --version, --help

An equal program is left alone. Another one is replaced in one step: who runs it meanwhile gets the old or the new.
Exit codes: 0 done, 1 it could not be done and nothing changed, 2 a wrong command line.
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To install.
    Install(Install),
    /// A text.
    Print(&'static str),
}

/// An installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Where plugins are.
    pub dir: PathBuf,
    /// The program, when it is not this one.
    pub program: Option<PathBuf>,
    /// Whether to stay until a signal asks to end.
    pub is_staying: bool,
}

/// What an installation found, and did about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// There was none.
    Installed(PathBuf),
    /// An equal one was there, and still is.
    Left(PathBuf),
    /// Another one was there; its version, if it is one of ours.
    Replaced(PathBuf, Option<String>),
}

/// Nothing was installed, and what was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// An unknown word, or a flag without its value.
    #[error(transparent)]
    Words(#[from] lexopt::Error),
    /// The program that is to be installed, or the one that is there, cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path of a program without a file name.
    #[error("`{}` is not the path of a program", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The directory is not there, or cannot be locked.
    #[error("cannot use the directory `{}`: mount the runtime's plugin directory there, or name another with --cni-bin-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program cannot be put there.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for a signal")]
    Signal(#[source] nix::Error),
}

impl InstallError {
    /// The process' exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Words(_) => 2,
            Self::Read { .. }
            | Self::NoName { .. }
            | Self::Directory { .. }
            | Self::Write { .. }
            | Self::Signal(_) => 1,
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Installed(path) => write!(f, "installed {}", path.display()),
            Self::Left(path) => write!(f, "left {} alone: it is equal", path.display()),
            Self::Replaced(path, Some(old)) => {
                write!(f, "replaced {}, version {old}", path.display())
            }
            Self::Replaced(path, None) => {
                write!(f, "replaced {}, another program", path.display())
            }
        }?;
        write!(f, " (version {version})")
    }
}

/// Reads a command line; the first word is the program's name.
///
/// # Errors
/// [`InstallError::Words`].
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, InstallError> {
    let mut parser = lexopt::Parser::from_iter(words);
    let mut install = Install {
        dir: "/host/opt/cni/bin".into(),
        program: None,
        is_staying: true,
    };
    match parser.next()? {
        Some(Value(word)) if word == "install" => {}
        Some(Long("version")) => return Ok(Asked::Print(VERSION)),
        None | Some(Long("help") | Short('h')) => return Ok(Asked::Print(HELP)),
        Some(other @ (Long(_) | Short(_) | Value(_))) => return Err(other.unexpected().into()),
    }
    while let Some(argument) = parser.next()? {
        match argument {
            Long("cni-bin-dir") => install.dir = parser.value()?.into(),
            Long("sriov-bin-file") => install.program = Some(parser.value()?.into()),
            Long("no-sleep") => install.is_staying = false,
            Long("version") => return Ok(Asked::Print(VERSION)),
            Long("help") | Short('h') => return Ok(Asked::Print(HELP)),
            other @ (Long(_) | Short(_) | Value(_)) => return Err(other.unexpected().into()),
        }
    }
    Ok(Asked::Install(install))
}

/// Does what the command line asks for; what it did goes to `out`.
///
/// # Errors
/// All of [`InstallError`].
pub fn run(
    words: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
) -> Result<(), InstallError> {
    let install = match parse(words)? {
        Asked::Install(install) => install,
        Asked::Print(text) => return told(out, text),
    };
    // Blocked before anything is done, so that none is missed: the first process of a container is not even ended by those it does not handle.
    let mut signals = SigSet::empty();
    if install.is_staying {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            signals.add(signal);
        }
        signals.thread_block().map_err(InstallError::Signal)?;
    }
    let done = put(&install)?;
    told(out, &format!("{done}\n"))?;
    if install.is_staying {
        told(out, "staying until SIGTERM\n")?;
        signals.wait().map_err(InstallError::Signal)?;
    }
    Ok(())
}

fn told(out: &mut dyn Write, text: &str) -> Result<(), InstallError> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| InstallError::Write {
        path: "standard output".into(),
        source,
    })
}

/// Installs the program.
///
/// The directory is locked meanwhile, so that there is one temporary name, and a killed installation leaves nothing that the next does not remove.
///
/// # Errors
/// All of [`InstallError`] but those of words and signals.
pub fn put(install: &Install) -> Result<Done, InstallError> {
    let own = || {
        std::env::current_exe().map_err(|source| InstallError::Read {
            path: "/proc/self/exe".into(),
            source,
        })
    };
    let program = install.program.clone().map_or_else(own, Ok)?;
    let text = read(&program)?;
    let Some(name) = program.file_name() else {
        return Err(InstallError::NoName { path: program });
    };
    let path = install.dir.join(name);
    let unusable = |source| InstallError::Directory {
        path: install.dir.clone(),
        source,
    };
    let dir = File::open(&install.dir).map_err(unusable)?;
    dir.lock().map_err(unusable)?;
    let unwritable = |source| InstallError::Write {
        path: path.clone(),
        source,
    };
    let temporary = install.dir.join(format!(".{}.new", name.display()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unwritable(error)),
        Ok(()) | Err(_) => {}
    }
    let before = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(source) => return Err(InstallError::Read { path, source }),
        Ok(file) if file.is_symlink() => Some(Vec::new()),
        Ok(file) => {
            let before = read(&path)?;
            if before == text && file.permissions().mode() & 0o7777 == MODE {
                return Ok(Done::Left(path));
            }
            Some(before)
        }
    };
    replace(&temporary, &text, &path, &dir).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        unwritable(error)
    })?;
    Ok(match before {
        None => Done::Installed(path),
        Some(before) => Done::Replaced(path, version_of(&before)),
    })
}

/// The new program is on the disk, with its mode, before it gets the name; after that the name is on the disk.
fn replace(temporary: &Path, text: &[u8], path: &Path, dir: &File) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(text)?;
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, path)?;
    dir.sync_all()
}

fn read(path: &Path) -> Result<Vec<u8>, InstallError> {
    fs::read(path).map_err(|source| InstallError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The version in the text of a program, if it is one of ours.
fn version_of(program: &[u8]) -> Option<String> {
    let mark = VERSION.strip_suffix(concat!(env!("CARGO_PKG_VERSION"), "\n"))?;
    let found = program
        .windows(mark.len())
        .enumerate()
        .filter(|(_, window)| *window == mark.as_bytes());
    found
        .filter_map(|(at, _)| program.get(at + mark.len()..))
        .find_map(|rest| {
            let end = rest.iter().take(32).position(|byte| *byte == b'\n')?;
            let version = std::str::from_utf8(rest.get(..end)?).ok()?;
            let is_version = version.starts_with(|first: char| first.is_ascii_digit());
            is_version.then(|| version.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, InstallError> {
        parse(
            std::iter::once("sriov")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn the_words_of_todays_manifests_are_accepted() {
        for (line, dir, program, is_staying) in [
            ("install", "/host/opt/cni/bin", None, true),
            ("install --no-sleep", "/host/opt/cni/bin", None, false),
            ("install --cni-bin-dir=/out --no-sleep", "/out", None, false),
            (
                "install --sriov-bin-file /usr/bin/sriov --cni-bin-dir /a=b",
                "/a=b",
                Some("/usr/bin/sriov"),
                true,
            ),
        ] {
            let expected = Install {
                dir: dir.into(),
                program: program.map(PathBuf::from),
                is_staying,
            };
            assert_eq!(asked(line).unwrap(), Asked::Install(expected), "{line}");
        }
        for line in ["", "-h", "--help", "install --help"] {
            assert_eq!(asked(line).unwrap(), Asked::Print(HELP), "{line}");
        }
        for line in ["ADD", "--no-sleep", "install now", "install --cni-bin-dir"] {
            assert_eq!(asked(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn our_version_is_found_in_a_program_and_none_in_another() {
        for (text, version) in [
            (
                &b"\0virtfn sriov \0virtfn sriov 1.2.3\nmore"[..],
                Some("1.2.3"),
            ),
            (b"virtfn sriov 1.2.3", None),
            (b"virtfn sriov \n", None),
            (b"virtfn sriov \xff\n", None),
            (b"", None),
        ] {
            assert_eq!(version_of(text).as_deref(), version);
        }
        assert_eq!(
            version_of(VERSION.as_bytes()).as_deref(),
            Some(env!("CARGO_PKG_VERSION"))
        );
    }
}
