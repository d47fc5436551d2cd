//! The lock of a VF, shared with the Go plugin.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sriov_host::PciAddress;

use super::error::JournalError;
use super::files::{self, open_in};
use super::store::Journal;

/// Time between two attempts to take a lock.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// The lock of a VF; the kernel releases it at the latest when the process ends.
#[derive(Debug)]
pub(crate) struct VfLock {
    _file: File,
}

impl Journal {
    /// Takes the lock of a VF.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another call has the lock for too long.
    pub(crate) fn lock(&self, device: PciAddress) -> Result<VfLock, JournalError> {
        self.lock_within(device, self.lock_deadline)
    }

    /// Takes the lock of a VF if no other call has it.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another call has the lock.
    pub(crate) fn lock_now(&self, device: PciAddress) -> Result<VfLock, JournalError> {
        self.lock_within(device, Duration::ZERO)
    }

    fn lock_within(&self, device: PciAddress, time: Duration) -> Result<VfLock, JournalError> {
        let dir = self.dir.locks();
        let path = dir.join(format!("{device}.lock"));
        let file = open(&dir, &path)?;
        let deadline = Instant::now() + time;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(VfLock { _file: file });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(device)),
                Err(TryLockError::Error(source)) => {
                    return Err(JournalError::Write { path, source });
                }
            }
        }
    }
}

/// Opens what is locked: the file, or on a disk that takes no new file the nearest file or directory that exists.
///
/// Nothing is saved there then, and a DEL must work all the same: each call on this disk locks the same.
fn open(dir: &Path, path: &Path) -> Result<File, JournalError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    open_in(dir, path, &options).or_else(|source| {
        let nearest = path.ancestors().find_map(|path| files::open(path).ok());
        nearest.ok_or(JournalError::Write {
            path: path.to_owned(),
            source,
        })
    })
}
