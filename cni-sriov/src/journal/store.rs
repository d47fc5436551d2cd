//! The journal: one file for each VF, written before the first change and removed after the last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sriov_device_info::private_dir;
use sriov_host::PciAddress;

use super::error::JournalError;
use super::files::{self, ensure_dir, exchange, remove, replace, temporary};
use super::state_dir::StateDir;
use crate::model::SavedAttachmentV1;

/// The state directory and the time limit of its locks.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(super) dir: StateDir,
    pub(super) lock_deadline: Duration,
}

impl Journal {
    /// Takes the state directory, for instance `/var/lib/cni/sriov`, and the time limit of the wait for a lock.
    pub(crate) fn new(dir: PathBuf, lock_deadline: Duration) -> Self {
        Self {
            dir: StateDir(dir),
            lock_deadline,
        }
    }

    /// The saved attachment of a VF.
    ///
    /// # Errors
    /// [`JournalError::Content`] when the file is torn.
    pub(crate) fn read(
        &self,
        device: PciAddress,
    ) -> Result<Option<SavedAttachmentV1>, JournalError> {
        files::read(&self.dir.entry(device))
    }

    /// Whether the attachment of a VF was saved after `than`; true when the time cannot be read.
    pub(crate) fn is_newer(&self, device: PciAddress, than: SystemTime) -> bool {
        let file = fs::metadata(self.dir.entry(device));
        let modified = file.and_then(|file| file.modified());
        modified.ok().is_none_or(|modified| modified > than)
    }

    /// Saves an attachment: it is on disk when this returns.
    ///
    /// The device plugin reads it without a capability, so the directory is opened for its owner first.
    pub(crate) fn write(&self, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
        // A failure is left to the write that follows.
        let _ = private_dir::open(self.dir.path());
        save(&self.dir.entry(saved.device), saved)
    }

    /// Saves an attachment that [`Self::write`] has saved before, with what DEL does not need: after a power loss either of the two is found.
    pub(crate) fn complete(&self, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
        let path = self.dir.entry(saved.device);
        exchange(&path, &encode(&path, saved)?)
    }

    /// Removes an attachment, with its files for the Go plugin.
    pub(crate) fn remove(&self, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
        let entry = self.dir.entry(saved.device);
        remove(&self.dir.go_state(&saved.container_id, &saved.ifname))?;
        remove(&self.dir.allocation(saved.device))?;
        // The entry goes after the files that are found by it, and before the durable file that replaces a torn entry.
        remove(&entry)?;
        remove(&temporary(&entry))
    }

    /// Removes the files of a VF that are torn or were never finished.
    pub(crate) fn sweep(&self, device: PciAddress) -> Result<(), JournalError> {
        remove(&temporary(&self.dir.entry(device)))?;
        match self.read(device) {
            Err(JournalError::Content { path, .. }) => {
                remove(&self.dir.allocation(device))?;
                remove(&path)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Saves the IPAM call that an attachment still owes, and frees its VF.
    pub(crate) fn owe(&self, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
        let SavedAttachmentV1 {
            container_id,
            ifname,
            device,
            ..
        } = saved;
        let dir = self.dir.owed();
        ensure_dir(&dir)?;
        let path = dir.join(format!("{container_id}-{ifname}-{device}.json"));
        save(&path, saved)?;
        self.remove(saved)
    }

    /// Fails when the directory cannot take a journal file: writes one, as for an attachment.
    pub(crate) fn probe(&self) -> Result<(), JournalError> {
        let name = format!(".probe.{}", std::process::id());
        let path = self.dir.path().join(name);
        replace(&path, &[])?;
        remove(&path)
    }
}

fn save(path: &Path, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
    replace(path, &encode(path, saved)?)
}

fn encode(path: &Path, saved: &SavedAttachmentV1) -> Result<Vec<u8>, JournalError> {
    saved.encode().map_err(|error| JournalError::Write {
        path: path.to_owned(),
        source: io::Error::from(error),
    })
}

#[cfg(test)]
mod tests;
