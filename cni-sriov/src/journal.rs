//! The journal: one file a VF, written before the first change and removed after the last; and the lock of each VF.
//!
//! The lock and the allocation file are those of the Go plugin, so that both can run on one node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sriov_host::PciAddress;
use sriov_host::netns::Netns;

use crate::failure::Failure;
use crate::saved::SavedAttachmentV1;

/// The state directory.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
    lock_deadline: Duration,
}

/// The lock of a VF; it goes with the process at the latest.
#[derive(Debug)]
pub struct VfLock {
    _file: File,
}

/// The state directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("`{}` is not a saved attachment: move it away when no pod uses this VF", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl Journal {
    /// Takes the state directory, for instance `/var/lib/cni/sriov`, and the bound of the wait for a lock.
    pub fn new(dir: PathBuf, lock_deadline: Duration) -> Self {
        Self { dir, lock_deadline }
    }

    /// Takes the lock of a VF.
    ///
    /// # Errors
    /// [`Failure::Locked`] when another call has it for too long.
    pub fn lock(&self, device: PciAddress) -> Result<VfLock, Failure> {
        let dir = self.dir.join("pci/vf_lock");
        let path = dir.join(format!("{device}.lock"));
        let write = |source| {
            Failure::Journal(JournalError::Write {
                path: path.clone(),
                source,
            })
        };
        make_dir(&dir).map_err(write)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(write)?;
        let deadline = Instant::now() + self.lock_deadline;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(VfLock { _file: file }),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(fs::TryLockError::WouldBlock) => return Err(Failure::Locked(device)),
                Err(fs::TryLockError::Error(source)) => return Err(write(source)),
            }
        }
    }

    /// What is saved of a VF.
    pub fn read(&self, device: PciAddress) -> Result<Option<SavedAttachmentV1>, Failure> {
        read(&self.path(device)).map_err(Failure::Journal)
    }

    /// Saves an attachment: after this it is on disk, whatever dies.
    pub fn write(&self, saved: &SavedAttachmentV1) -> Result<(), Failure> {
        let path = self.path(saved.device);
        let failed = |source| {
            Failure::Journal(JournalError::Write {
                path: path.clone(),
                source,
            })
        };
        let text = serde_json::to_vec(saved).map_err(|source| failed(source.into()))?;
        make_dir(&self.dir).map_err(failed)?;
        let temporary = self.dir.join(format!(".{}.new", saved.device));
        let replace = || {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        replace().map_err(failed)
    }

    /// Forgets an attachment, with its allocation file.
    pub fn remove(&self, device: PciAddress) -> Result<(), Failure> {
        for path in [self.allocation(device), self.path(device)] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::Journal(JournalError::Write { path, source }));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The devices that a container has under a name.
    pub fn devices_of(
        &self,
        network: &str,
        container_id: &str,
        ifname: &str,
    ) -> Result<Vec<PciAddress>, Failure> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(Failure::Journal(JournalError::Read {
                    path: self.dir.clone(),
                    source,
                }));
            }
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let devices = names.filter_map(|name| {
            name.strip_suffix(".json")
                .and_then(|stem| stem.parse::<PciAddress>().ok())
        });
        let mut owned = Vec::new();
        for device in devices {
            // A file that cannot be read is not this attachment's as far as anybody can tell; ADD on its VF says so.
            let saved = self.read(device).ok().flatten();
            let is_meant = |saved: &SavedAttachmentV1| {
                saved.network == network
                    && saved.container_id == container_id
                    && saved.ifname == ifname
            };
            owned.extend(saved.filter(is_meant).map(|saved| saved.device));
        }
        Ok(owned)
    }

    /// Tells the Go plugin that the VF is in use.
    pub fn write_allocation(&self, device: PciAddress, netns: &str) -> Result<(), Failure> {
        let path = self.allocation(device);
        fs::write(&path, netns)
            .map_err(|source| Failure::Journal(JournalError::Write { path, source }))
    }

    /// Whether the Go plugin says that the VF is in use: its file names a namespace that is there.
    pub fn is_allocated_elsewhere(&self, device: PciAddress) -> Option<String> {
        let netns = fs::read_to_string(self.allocation(device)).ok()?;
        Netns::open(Path::new(netns.trim()))
            .ok()
            .map(|_| netns.trim().to_owned())
    }

    fn path(&self, device: PciAddress) -> PathBuf {
        self.dir.join(format!("{device}.json"))
    }

    fn allocation(&self, device: PciAddress) -> PathBuf {
        self.dir.join("pci").join(device.to_string())
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn read(path: &Path) -> Result<Option<SavedAttachmentV1>, JournalError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::tests::GOLDEN;

    fn journal(dir: &Path) -> Journal {
        Journal::new(dir.join("sriov"), Duration::from_millis(20))
    }

    #[test]
    fn what_is_saved_is_found_by_its_owner_and_gone_after_removal() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let saved: SavedAttachmentV1 = serde_json::from_str(GOLDEN).unwrap();
        let _lock = journal.lock(saved.device).unwrap();
        journal.write(&saved).unwrap();
        assert_eq!(journal.read(saved.device).unwrap(), Some(saved.clone()));
        assert_eq!(
            journal.devices_of("n", "c", "net1").unwrap(),
            [saved.device]
        );
        assert!(journal.devices_of("other", "c", "net1").unwrap().is_empty());
        journal
            .write_allocation(saved.device, "/run/netns/p")
            .unwrap();
        journal.remove(saved.device).unwrap();
        journal.remove(saved.device).unwrap();
        assert_eq!(journal.read(saved.device).unwrap(), None);
        assert!(!dir.path().join("sriov/pci/0000:01:10.0").exists());
    }

    #[test]
    fn a_torn_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let device = "0000:01:10.0".parse().unwrap();
        let _lock = journal.lock(device).unwrap();
        fs::write(dir.path().join("sriov/0000:01:10.0.json"), "{").unwrap();
        let failure = journal.read(device).unwrap_err();
        assert_eq!(failure.code(), 102);
        assert!(failure.to_string().contains("0000:01:10.0.json"));
    }

    #[test]
    fn a_lock_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let device = "0000:01:10.0".parse().unwrap();
        let lock = journal.lock(device).unwrap();
        assert_eq!(journal.lock(device).unwrap_err().code(), 11);
        drop(lock);
        journal.lock(device).unwrap();
    }

    #[test]
    fn an_allocation_counts_while_its_namespace_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let device = "0000:01:10.0".parse().unwrap();
        let _lock = journal.lock(device).unwrap();
        journal
            .write_allocation(device, "/proc/self/ns/net")
            .unwrap();
        assert!(journal.is_allocated_elsewhere(device).is_some());
        journal
            .write_allocation(device, "/run/netns/nobody")
            .unwrap();
        assert_eq!(journal.is_allocated_elsewhere(device), None);
    }
}
