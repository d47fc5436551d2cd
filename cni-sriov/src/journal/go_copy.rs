//! The files of the Go plugin: read for its attachments, written for ours, so that either plugin can release the other's.

use std::fs;
use std::path::PathBuf;

use sriov_host::netns::Netns;
use sriov_host::{IfName, PciAddress};

use super::error::JournalError;
use super::files::{names, remove, temporary};
use super::go_state::{self, GoState};
use super::store::Journal;
use crate::model::SavedAttachmentV1;

impl Journal {
    /// Writes the allocation of the VF and the state by which the Go plugin can release it; like the Go plugin's own files, they need not survive a power loss.
    pub(crate) fn write_go_copy(
        &self,
        saved: &SavedAttachmentV1,
        state: &str,
    ) -> Result<(), JournalError> {
        let ifname = &saved.ifname;
        let files = [
            (self.dir.go_state(&saved.container_id, ifname), state),
            (self.dir.allocation(saved.device), saved.netns.path.as_str()),
        ];
        files.into_iter().try_for_each(|(path, text)| {
            fs::write(&path, text).map_err(|source| JournalError::Write { path, source })
        })
    }

    /// Whether the Go plugin has released an attachment of ours and given its VF to another pod: its state of this attachment is gone, and a newer state names the VF.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn is_passed_on(&self, saved: &SavedAttachmentV1) -> Result<bool, JournalError> {
        let own = self.dir.go_state(&saved.container_id, &saved.ifname);
        if own.exists() {
            return Ok(false);
        }
        for name in self.go_states()? {
            let found = go_state::read(&self.dir.path().join(name));
            if found.is_some_and(|found| {
                found.device == saved.device && !self.is_newer(saved.device, found.modified)
            }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes an attachment whose VF belongs to another pod now.
    pub(crate) fn forget(&self, saved: &SavedAttachmentV1) -> Result<(), JournalError> {
        // Version 2.1.0 of the Go plugin leaves our allocation file, later versions have written their own.
        let is_own = self.allocation_path(saved.device) == Some(PathBuf::from(&saved.netns.path));
        if is_own {
            remove(&self.dir.allocation(saved.device))?;
        }
        let entry = self.dir.entry(saved.device);
        remove(&entry)?;
        remove(&temporary(&entry))
    }

    /// Path of the network namespace for which either plugin holds the VF.
    pub(crate) fn allocation_path(&self, device: PciAddress) -> Option<PathBuf> {
        let netns = fs::read_to_string(self.dir.allocation(device)).ok()?;
        Some(PathBuf::from(netns.trim()))
    }

    /// The network namespace for which either plugin holds the VF, if it still exists.
    pub(crate) fn allocated_to(&self, device: PciAddress) -> Option<Netns> {
        Netns::open(&self.allocation_path(device)?).ok()
    }

    /// Fails when the Go plugin holds the VF: only the Go plugin leaves an allocation without an entry in the journal.
    ///
    /// # Errors
    /// [`JournalError::BusyElsewhere`].
    pub(crate) fn ensure_not_of_go(&self, device: PciAddress) -> Result<(), JournalError> {
        match self.allocated_to(device) {
            Some(_) => Err(JournalError::BusyElsewhere(device)),
            None => Ok(()),
        }
    }

    /// The Go plugin's state of an attachment.
    pub(crate) fn read_go_state(&self, container_id: &str, ifname: &IfName) -> Option<GoState> {
        go_state::read(&self.dir.go_state(container_id, ifname))
    }

    /// File names of the Go plugin's states.
    pub(crate) fn go_states(&self) -> Result<Vec<String>, JournalError> {
        let is_state = |name: &String| {
            name.contains('-') && !name.starts_with('.') && self.dir.path().join(name).is_file()
        };
        let names = names(self.dir.path())?;
        Ok(names.into_iter().filter(is_state).collect())
    }

    /// Removes the Go plugin's state of an attachment and, if a VF is named, its allocation.
    pub(crate) fn remove_go_state(
        &self,
        container_id: &str,
        ifname: &IfName,
        device: Option<PciAddress>,
    ) -> Result<(), JournalError> {
        if let Some(device) = device {
            remove(&self.dir.allocation(device))?;
        }
        remove(&self.dir.go_state(container_id, ifname))
    }
}
