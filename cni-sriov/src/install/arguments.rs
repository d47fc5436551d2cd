//! The command line of `sriov`.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

use super::error::InstallError;

/// Output of `sriov --version`; it is searched in an installed program, which is never run.
pub(super) const VERSION: &str = concat!("virtfn sriov ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
usage: sriov                     CNI plugin: reads the request from the environment and standard input
       sriov install [FLAGS]     installs this program where the runtime looks for plugins

  --cni-bin-dir DIR      directory of the runtime's plugins (default /host/opt/cni/bin)
  --sriov-bin-file FILE  program to install (default: this program)
  --no-sleep             exit after the installation, for an init container (default: wait for SIGTERM)
  --version, --help

An identical program is left alone. A different program is replaced in one step: a call at that moment runs the old or the new one.
Exit codes: 0 installed, 1 not installed and nothing changed, 2 invalid command line.
";

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Installs.
    Install(Install),
    /// Prints a text.
    Print(&'static str),
}

/// Where and what to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Install {
    /// Directory of the runtime's plugins.
    pub(super) dir: PathBuf,
    /// The program; absent for this program.
    pub(super) program: Option<PathBuf>,
    /// Whether to wait for a signal afterwards.
    pub(super) is_staying: bool,
}

/// Reads a command line; the first argument is the name of the program.
///
/// # Errors
/// [`InstallError::Arguments`].
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, InstallError> {
    let mut parser = lexopt::Parser::from_iter(words);
    let mut install = Install {
        dir: "/host/opt/cni/bin".into(),
        program: None,
        is_staying: true,
    };
    match parser.next()? {
        Some(Value(word)) if word == "install" => {}
        Some(Long("version")) => return Ok(Command::Print(VERSION)),
        None | Some(Long("help") | Short('h')) => return Ok(Command::Print(HELP)),
        Some(other @ (Long(_) | Short(_) | Value(_))) => return Err(other.unexpected().into()),
    }
    while let Some(argument) = parser.next()? {
        match argument {
            Long("cni-bin-dir") => install.dir = parser.value()?.into(),
            Long("sriov-bin-file") => install.program = Some(parser.value()?.into()),
            Long("no-sleep") => install.is_staying = false,
            Long("version") => return Ok(Command::Print(VERSION)),
            Long("help") | Short('h') => return Ok(Command::Print(HELP)),
            other @ (Long(_) | Short(_) | Value(_)) => return Err(other.unexpected().into()),
        }
    }
    Ok(Command::Install(install))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Result<Command, InstallError> {
        parse(
            std::iter::once("sriov")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn flags_of_the_go_plugins_manifests_are_accepted() {
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
            assert_eq!(command(line).unwrap(), Command::Install(expected), "{line}");
        }
        for line in ["", "-h", "--help", "install --help"] {
            assert_eq!(command(line).unwrap(), Command::Print(HELP), "{line}");
        }
        for line in ["ADD", "--no-sleep", "install now", "install --cni-bin-dir"] {
            assert_eq!(command(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
