//! Files of the state directory: written whole or not at all, removed without complaint when they are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::Value;

use super::error::JournalError;
use crate::model::{FORMAT, SavedAttachmentV1};

/// Bytes that a file seldom exceeds.
const USUAL: usize = 8 << 10;
/// Most bytes of a file that are read; none of ours is nearly as long.
const MOST: u64 = 16 << 20;

/// Writes a file whole or not at all, durably: temporary file, fsync, rename, fsync of the directory.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    try_replace(path, text).map_err(|source| JournalError::Write {
        path: path.to_owned(),
        source,
    })
}

fn try_replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = open_in(dir, &temporary, &options)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // On a full disk the rest of the file would only be in the way.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

/// The temporary file that [`replace`] writes; it remains when a call is killed.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Opens a file, and creates its directory first if that is missing.
pub(super) fn open_in(dir: &Path, path: &Path, options: &OpenOptions) -> io::Result<File> {
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(dir)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Creates a directory and those above it.
pub(super) fn ensure_dir(dir: &Path) -> Result<(), JournalError> {
    make_dir(dir).map_err(|source| JournalError::Write {
        path: dir.to_owned(),
        source,
    })
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Names of the files in a directory; none when the directory is missing.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(JournalError::Read {
                path: dir.to_owned(),
                source,
            });
        }
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

/// Removes a file; a missing file is success, also on a disk that is read-only.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    let is_gone = || {
        let found = fs::symlink_metadata(path);
        found.is_err_and(|error| is_missing(&error))
    };
    match fs::remove_file(path) {
        Err(source) if !is_missing(&source) && !is_gone() => Err(JournalError::Write {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether there is no such file, or its directory is none.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Opens a file for reading; a pipe is not waited for.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
}

/// Reads an open file.
pub(super) fn content(file: &File) -> io::Result<Vec<u8>> {
    // Room for the whole file: an empty buffer would grow by small reads.
    let mut text = Vec::with_capacity(USUAL);
    file.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// Reads a saved attachment; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<SavedAttachmentV1>, JournalError> {
    let text = match open(path).and_then(|file| content(&file)) {
        Ok(text) => text,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(source) => {
            return Err(JournalError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let decoded = serde_json::from_slice(&text).and_then(|value: Value| {
        let later = later(path, &value);
        later.map_or_else(
            || SavedAttachmentV1::decode(&value).map(Ok),
            |later| Ok(Err(later)),
        )
    });
    match decoded {
        Ok(saved) => saved.map(Some),
        Err(source) => Err(JournalError::Content {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The error for a file of a later version, whose other keys may have another meaning.
fn later(path: &Path, value: &Value) -> Option<JournalError> {
    let version = value.get("version").and_then(Value::as_u64);
    let version = version.filter(|version| *version > FORMAT.into())?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(JournalError::Later {
        path: path.to_owned(),
        version,
        owner: ["network", "container_id", "ifname"].map(text),
    })
}
