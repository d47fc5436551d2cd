//! Files of the state directory: written whole or not at all, removed without complaint when they are gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use serde_json::Value;
use sriov_device_info::private_dir;

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
    options.write(true).create_new(true).mode(0o600);
    let mut file = match open_in(dir, &temporary, &options) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            save_exchanged(path, dir)?;
            options.create_new(false).create(true).truncate(true);
            options.open(&temporary)?
        }
        opened => opened?,
    };
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // On a full disk the rest of the file would only be in the way.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

/// Gives a durable file a new text without a wait for the disk: the file with the new text takes the name, and the durable file takes the temporary name.
///
/// One of the two names has the durable file at each moment, also after a power loss, which may leave the new text torn: [`read`] takes the other file then.
pub(super) fn exchange(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    match try_exchange(path, text) {
        Ok(()) => Ok(()),
        // The file system cannot exchange two names, or the file was removed.
        Err(error) => {
            tracing::debug!(%error, "writing the file durably");
            replace(path, text)
        }
    }
}

fn try_exchange(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    let written = file.write_all(text).and_then(|()| {
        let flags = RenameFlags::RENAME_EXCHANGE;
        Ok(renameat2(AT_FDCWD, &temporary, AT_FDCWD, path, flags)?)
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Makes the file durable whose older text has the temporary name, which is written to next.
pub(super) fn save_exchanged(path: &Path, dir: &Path) -> io::Result<()> {
    match read_one(path) {
        Ok(None) => return Ok(()),
        Err(JournalError::Content { .. }) => {
            let temporary = temporary(path);
            if !matches!(read_one(&temporary), Ok(Some(_))) {
                return Ok(());
            }
            fs::rename(temporary, path)?;
        }
        Ok(Some(_)) | Err(_) => File::open(path)?.sync_all()?,
    }
    File::open(dir)?.sync_all()
}

/// Written by [`replace`], and left when a call is killed; after [`exchange`] it is the durable file.
pub(super) use sriov_device_info::atomic::temporary;

/// Opens a file; its directory is created first if it is missing, and opened if its owner may not enter it.
pub(super) fn open_in(dir: &Path, path: &Path, options: &OpenOptions) -> io::Result<File> {
    match options.open(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            private_dir::make(dir)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Creates a directory and those above it.
pub(super) fn ensure_dir(dir: &Path) -> Result<(), JournalError> {
    private_dir::make(dir).map_err(|source| JournalError::Write {
        path: dir.to_owned(),
        source,
    })
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
///
/// A file that a power loss has torn is replaced by the durable file that [`exchange`] left.
pub(super) fn read(path: &Path) -> Result<Option<SavedAttachmentV1>, JournalError> {
    match read_one(path) {
        Err(error @ JournalError::Content { .. }) => match read_one(&temporary(path)) {
            Ok(Some(saved)) => {
                tracing::warn!(%error, "using the file from before the attachment was complete");
                Ok(Some(saved))
            }
            Ok(None) | Err(_) => Err(error),
        },
        done => done,
    }
}

fn read_one(path: &Path) -> Result<Option<SavedAttachmentV1>, JournalError> {
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
