//! Puts the program into the directory, and reads the version of the existing program.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::arguments::{Install, VERSION};
use super::error::InstallError;

/// Mode of a plugin: everybody may run it, only root may write it.
const MODE: u32 = 0o755;

/// What an installation found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was no program.
    Installed(PathBuf),
    /// An identical program was there, and still is.
    Left(PathBuf),
    /// Another program was there; its version, if it is one of ours.
    Replaced(PathBuf, Option<String>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Installed(path) => write!(f, "installed {}", path.display()),
            Self::Left(path) => write!(f, "left {} alone: it is identical", path.display()),
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

/// Installs the program.
///
/// The directory is locked in the meantime, so that one temporary name suffices; the next installation removes what a killed one left.
///
/// # Errors
/// All of [`InstallError`] except those of arguments and signals.
pub(super) fn put(install: &Install) -> Result<Outcome, InstallError> {
    let program = program(install)?;
    let text = read(&program)?;
    let Some(name) = program.file_name() else {
        return Err(InstallError::NoName { path: program });
    };
    let path = install.dir.join(name);
    let dir = lock(&install.dir)?;
    let temporary = install.dir.join(format!(".{}.new", name.display()));
    remove(&temporary, &path)?;
    let installed = installed(&path)?;
    if installed
        .as_ref()
        .is_some_and(|found| found.is_equal(&text))
    {
        return Ok(Outcome::Left(path));
    }
    replace(&temporary, &text, &path, &dir).map_err(|source| {
        let _ = fs::remove_file(&temporary);
        not_written(&install.dir, path.clone(), source)
    })?;
    Ok(match installed {
        None => Outcome::Installed(path),
        Some(found) => Outcome::Replaced(path, version_of(&found.text)),
    })
}

fn program(install: &Install) -> Result<PathBuf, InstallError> {
    match &install.program {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe().map_err(|source| InstallError::Read {
            path: "/proc/self/exe".into(),
            source,
        }),
    }
}

fn lock(dir: &Path) -> Result<File, InstallError> {
    let open = || {
        let file = File::open(dir)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|source| InstallError::Directory {
        path: dir.to_owned(),
        source,
    })
}

/// Names the owner of the directory if that is the reason: a container has root without its right to write everywhere.
fn not_written(dir: &Path, path: PathBuf, source: io::Error) -> InstallError {
    let owner = fs::metadata(dir).map(|dir| dir.uid()).ok();
    match owner.filter(|owner| *owner != geteuid().as_raw()) {
        Some(owner) if source.kind() == ErrorKind::PermissionDenied => InstallError::Owner {
            path: dir.to_owned(),
            owner,
            source,
        },
        _ => InstallError::Write { path, source },
    }
}

/// Removes what a killed installation of `path` left.
fn remove(temporary: &Path, path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(temporary) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            let dir = temporary.parent().unwrap_or(Path::new("/"));
            Err(not_written(dir, path.to_owned(), source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The program that stands at the path.
struct Installed {
    text: Vec<u8>,
    mode: u32,
}

impl Installed {
    fn is_equal(&self, text: &[u8]) -> bool {
        self.text == text && self.mode == MODE
    }
}

/// A symbolic link counts as another program, and is replaced.
fn installed(path: &Path) -> Result<Option<Installed>, InstallError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InstallError::Read {
            path: path.to_owned(),
            source,
        }),
        Ok(file) if file.is_symlink() => Ok(Some(Installed {
            text: Vec::new(),
            mode: 0,
        })),
        Ok(file) => Ok(Some(Installed {
            text: read(path)?,
            mode: file.permissions().mode() & 0o7777,
        })),
    }
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
    use std::os::unix::fs::chown;
    use std::thread;

    use nix::unistd::{Uid, setfsuid};

    use super::*;

    #[test]
    fn owner_of_a_directory_is_named_where_root_may_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sriov");
        let bin = dir.path().join("bin");
        fs::write(&program, "program").unwrap();
        fs::create_dir(&bin).unwrap();
        let install = Install {
            dir: bin.clone(),
            program: Some(program.clone()),
            is_staying: false,
        };
        if !geteuid().is_root() {
            put(&install).unwrap();
            return;
        }
        for path in [dir.path(), &program] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        chown(&bin, Some(4242), None).unwrap();
        // Without its rights to files, as in a container that drops all capabilities (capabilities(7)).
        let refused = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setfsuid(Uid::from_raw(4243));
                put(&install)
            });
            thread.join().unwrap()
        });
        let error = refused.unwrap_err();
        assert!(
            error.to_string().contains("belongs to user 4242"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 1);
        assert_eq!(
            put(&install).unwrap(),
            Outcome::Installed(bin.join("sriov"))
        );
    }

    #[test]
    fn version_is_found_only_in_our_programs() {
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
