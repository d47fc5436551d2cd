//! Files of the state directory: written whole or not at all, removed without complaint when they are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::JournalError;
use crate::model::SavedAttachmentV1;

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
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
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
    let failed = |source| JournalError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    entries
        .map(|entry| {
            let name = entry.map_err(failed)?.file_name();
            Ok(name.to_string_lossy().into_owned())
        })
        .collect()
}

/// Removes a file; a missing file is success.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(JournalError::Write {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads a saved attachment; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<SavedAttachmentV1>, JournalError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(JournalError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| JournalError::Content {
            path: path.to_owned(),
            source,
        })
}
