//! Replaces a file atomically: a reader finds the old content or the new content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::private_dir;

/// Number of writes of this process.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Writes a file with a mode, and creates missing directories.
///
/// The temporary name begins with a dot and ends with process id and number, so that watchers of `.json` files ignore it.
/// Nothing is synchronised with the disk: these files live below `/var/run`, which a crash of the machine empties.
///
/// # Errors
/// When the file could not be replaced; it is unchanged then.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let temporary = numbered(path);
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// A temporary file of [`replace`], with a name that no other write has: threads of one process may write the same file,
/// an Allocate and the upkeep of a running pod's files.
fn numbered(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}", std::process::id()))
}

/// The name of the file that a temporary file of [`numbered`] was to replace.
fn replaced(temporary: &str) -> Option<&str> {
    let (name, suffix) = temporary.strip_prefix('.')?.rsplit_once('.')?;
    let (pid, number) = suffix.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(pid) && is_number(number)).then_some(name)
}

/// The temporary files of calls of [`replace`] for these files that were killed, or that still run.
pub fn leftovers(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut dirs: BTreeMap<&Path, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name()) {
            dirs.entry(dir).or_default().extend(name.to_str());
        }
    }
    let mut found = Vec::new();
    for (dir, names) in dirs {
        // A directory that does not exist has none.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(replaced);
            if of.is_some_and(|of| names.contains(of)) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Writes a file with a mode, and synchronises it with the disk; creates missing directories, readable by root only.
///
/// The temporary name is the same for each process: the caller has a lock, and what a killed writer left is overwritten.
///
/// # Errors
/// When the file could not be replaced; it is unchanged then.
pub fn replace_durably(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    private_dir::make(dir)?;
    let temporary = temporary(path);
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(text)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    File::open(dir)?.sync_all()
}

/// Removes a file and what a killed [`replace_durably`] left of it, and synchronises the directory; a missing file counts as success.
///
/// # Errors
/// When the file could not be removed.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    remove(&temporary(path))?;
    remove(path)?;
    match File::open(path.parent().unwrap_or(Path::new("/"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        dir => dir?.sync_all(),
    }
}

/// The temporary file of [`replace_durably`] and of the CNI plugin's journal, hidden from watchers of the directory.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Removes a file; a missing file counts as success.
///
/// # Errors
/// When the file could not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_with_its_mode_and_no_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/file.json");
        for text in ["long content", "short"] {
            replace(&path, text.as_bytes(), 0o444).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
        assert_eq!(fs::read_dir(dir.path().join("made")).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn leftovers_are_the_temporary_files_of_the_named_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let leftovers = [
            path(".a.json.17-4"),
            path(".a.json.1-0"),
            numbered(&path("a.json")),
        ];
        // `.new` is the name that the CNI plugin uses.
        let others = [
            "a.json",
            ".b.json.17-4",
            ".a.json.new",
            ".a.json.17-",
            ".a.json",
        ];
        for file in leftovers.iter().cloned().chain(others.map(path)) {
            fs::write(file, "").unwrap();
        }
        let found = super::leftovers(&["a.json", "missing/a.json"].map(path));
        assert_eq!(BTreeSet::from_iter(found), BTreeSet::from(leftovers));
    }

    #[test]
    fn threads_may_replace_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        replace(&path, b"whole", 0o444).unwrap();
                        assert_eq!(fs::read(&path).unwrap(), b"whole");
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_a_killed_writer_are_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/file.json");
        for text in ["long content", "short"] {
            replace_durably(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            fs::write(temporary(&path), "half of a").unwrap();
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        remove_durably(&path).unwrap();
        remove_durably(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("made")).unwrap().count(), 0);
        remove_durably(&dir.path().join("missing/file.json")).unwrap();
    }

    #[test]
    fn failed_write_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("is-a-directory");
        fs::create_dir_all(path.join("inner")).unwrap();
        assert!(replace(&path, b"text", 0o644).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
