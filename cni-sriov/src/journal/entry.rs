//! All files of the journal, for the verbs that look for an attachment without knowing its VF.

use std::path::PathBuf;

use sriov_host::PciAddress;

use super::error::JournalError;
use super::files::{names, read, remove};
use super::store::Journal;
use crate::model::SavedAttachmentV1;

/// A file of the journal.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The file.
    pub(crate) path: PathBuf,
    /// The attachment, or why the file cannot be read.
    pub(crate) saved: Result<SavedAttachmentV1, JournalError>,
    /// Whether only an IPAM call is owed, and the VF is free.
    pub(crate) is_owed: bool,
}

impl Entry {
    /// Removes the file, when its IPAM call is no longer owed.
    pub(crate) fn settle(&self) -> Result<(), JournalError> {
        remove(&self.path)
    }
}

impl Journal {
    /// All files of the journal, sorted by path.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        for (dir, is_owed) in [(self.dir.path().to_owned(), false), (self.dir.owed(), true)] {
            let names = match names(&dir) {
                Err(error) if is_owed => {
                    tracing::warn!(%error, "addresses that are not released yet stay so");
                    continue;
                }
                names => names?,
            };
            for name in names {
                if !is_entry(&name, is_owed) {
                    continue;
                }
                let path = dir.join(name);
                // A file that was removed in the meantime is not an entry.
                if let Some(saved) = read(&path).transpose() {
                    entries.push(Entry {
                        path,
                        saved,
                        is_owed,
                    });
                }
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

fn is_entry(name: &str, is_owed: bool) -> bool {
    let stem = name.strip_suffix(".json");
    !name.starts_with('.') && stem.is_some_and(|stem| is_owed || stem.parse::<PciAddress>().is_ok())
}
