//! The journal: one file a VF, written before the first change and removed after the last; and the lock of each VF.
//!
//! The lock, the allocation file and a copy of the state are those of the Go plugin, so that both can run on one node (`go_state`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sriov_host::PciAddress;
use sriov_host::netns::Netns;

use crate::failure::Failure;
use crate::go_state;
use crate::saved::SavedAttachmentV1;

/// Directory of attachments whose VF is free again and whose addresses IPAM did not take back yet.
const OWED: &str = "owed";

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
    /// Whether another call had it first: what was seen before may have changed.
    pub was_contended: bool,
}

/// A file of the journal.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds, or why that cannot be said.
    pub saved: Result<SavedAttachmentV1, JournalError>,
    /// Whether only addresses are owed: the VF is another's business.
    pub is_owed: bool,
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
    #[error("`{}` is not a saved attachment", path.display())]
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
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = open_in(&dir, &path, &options).map_err(write)?;
        let deadline = Instant::now() + self.lock_deadline;
        let mut was_contended = false;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(VfLock {
                        _file: file,
                        was_contended,
                    });
                }
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                    was_contended = true;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(fs::TryLockError::WouldBlock) => return Err(Failure::Locked(device)),
                Err(fs::TryLockError::Error(source)) => return Err(write(source)),
            }
        }
    }

    /// What is saved of a VF.
    ///
    /// # Errors
    /// [`JournalError::Content`] when the file is torn.
    pub fn read(&self, device: PciAddress) -> Result<Option<SavedAttachmentV1>, JournalError> {
        read(&self.path(device))
    }

    /// Whether what is saved of a VF was saved after a moment; what cannot be told was.
    pub fn is_newer(&self, device: PciAddress, than: SystemTime) -> bool {
        let file = fs::metadata(self.path(device));
        let modified = file.and_then(|file| file.modified());
        modified.ok().is_none_or(|modified| modified > than)
    }

    /// Saves an attachment: after this it is on disk, whatever dies.
    pub fn write(&self, saved: &SavedAttachmentV1) -> Result<(), Failure> {
        let text = serde_json::to_vec(saved);
        self.replace(&self.path(saved.device), text.map_err(io::Error::from))
            .map_err(Failure::Journal)
    }

    /// Forgets an attachment, with all that tells the Go plugin of it.
    pub fn remove(&self, saved: &SavedAttachmentV1) -> Result<(), Failure> {
        let paths = [
            self.go_state(&saved.container_id, &saved.ifname),
            self.allocation(saved.device),
            temporary(&self.path(saved.device)),
            // The last, for it is what the others are found by.
            self.path(saved.device),
        ];
        paths.iter().try_for_each(|path| remove(path))
    }

    /// Whether the Go plugin has released an attachment in our place and given its VF to another pod: its state of this one is gone, and a newer one names the VF.
    ///
    /// # Errors
    /// When the directory or a state cannot be read.
    pub fn is_passed_on(&self, saved: &SavedAttachmentV1) -> Result<bool, Failure> {
        if self.go_state(&saved.container_id, &saved.ifname).exists() {
            return Ok(false);
        }
        for name in self.go_states()? {
            let found = go_state::read(&self.dir.join(name)).map_err(Failure::Journal)?;
            if found.is_some_and(|found| {
                found.device == saved.device && !self.is_newer(saved.device, found.modified)
            }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets an attachment whose VF is another's by now.
    pub fn forget(&self, saved: &SavedAttachmentV1) -> Result<(), Failure> {
        // 2.1.0 leaves ours, later versions have written theirs.
        let is_own = self.allocation_path(saved.device) == Some(PathBuf::from(&saved.netns.path));
        if is_own {
            remove(&self.allocation(saved.device))?;
        }
        remove(&temporary(&self.path(saved.device)))?;
        remove(&self.path(saved.device))
    }

    /// Forgets what is torn, or was never finished, of a VF.
    pub fn sweep(&self, device: PciAddress) -> Result<(), Failure> {
        remove(&temporary(&self.path(device)))?;
        match self.read(device) {
            Err(JournalError::Content { path, .. }) => {
                remove(&self.allocation(device))?;
                remove(&path)
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Keeps what IPAM is to be told, and frees the VF of it.
    pub fn owe(&self, saved: &SavedAttachmentV1) -> Result<(), Failure> {
        let SavedAttachmentV1 {
            container_id,
            ifname,
            device,
            ..
        } = saved;
        let dir = self.dir.join(OWED);
        let path = dir.join(format!("{container_id}-{ifname}-{device}.json"));
        make_dir(&dir)
            .map_err(|source| JournalError::Write {
                path: dir.clone(),
                source,
            })
            .and_then(|()| self.replace(&path, serde_json::to_vec(saved).map_err(io::Error::from)))
            .map_err(Failure::Journal)?;
        self.remove(saved)
    }

    /// Forgets what was owed.
    pub fn settle(&self, entry: &Entry) -> Result<(), Failure> {
        remove(&entry.path)
    }

    /// All files of the journal, sorted by path.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        for (dir, is_owed) in [(self.dir.clone(), false), (self.dir.join(OWED), true)] {
            for name in names(&dir).map_err(Failure::Journal)? {
                let is_entry = name
                    .strip_suffix(".json")
                    .is_some_and(|stem| is_owed || stem.parse::<PciAddress>().is_ok());
                if !is_entry || name.starts_with('.') {
                    continue;
                }
                let path = dir.join(name);
                // A file that vanished meanwhile is no entry.
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

    /// Tells the Go plugin that the VF is in use, and how to release it; like its own files, these need not outlive a power loss.
    pub fn tell_go(&self, saved: &SavedAttachmentV1, state: &str) -> Result<(), Failure> {
        let files = [
            (self.go_state(&saved.container_id, &saved.ifname), state),
            (self.allocation(saved.device), saved.netns.path.as_str()),
        ];
        files.into_iter().try_for_each(|(path, text)| {
            fs::write(&path, text)
                .map_err(|source| Failure::Journal(JournalError::Write { path, source }))
        })
    }

    /// Path of the namespace for which the Go plugin, or ours in its place, holds the VF.
    pub fn allocation_path(&self, device: PciAddress) -> Option<PathBuf> {
        let netns = fs::read_to_string(self.allocation(device)).ok()?;
        Some(PathBuf::from(netns.trim()))
    }

    /// That namespace, when it is there.
    pub fn allocated_to(&self, device: PciAddress) -> Option<Netns> {
        Netns::open(&self.allocation_path(device)?).ok()
    }

    /// The Go plugin's state of an attachment.
    pub fn read_go_state(
        &self,
        container_id: &str,
        ifname: &str,
    ) -> Result<Option<go_state::Found>, JournalError> {
        go_state::read(&self.go_state(container_id, ifname))
    }

    /// The Go plugin's states, by file name.
    pub fn go_states(&self) -> Result<Vec<String>, Failure> {
        let is_state = |name: &String| {
            name.contains('-') && !name.starts_with('.') && self.dir.join(name).is_file()
        };
        let names = names(&self.dir).map_err(Failure::Journal)?;
        Ok(names.into_iter().filter(is_state).collect())
    }

    /// Forgets the Go plugin's state of an attachment and, when it is its own, its hold on a VF.
    pub fn remove_go_state(
        &self,
        container_id: &str,
        ifname: &str,
        device: Option<PciAddress>,
    ) -> Result<(), Failure> {
        if let Some(device) = device {
            remove(&self.allocation(device))?;
        }
        remove(&self.go_state(container_id, ifname))
    }

    /// Fails when the directory could not take a journal: one is written, as for an attachment.
    pub fn probe(&self) -> Result<(), Failure> {
        let path = self.dir.join(format!(".probe.{}", std::process::id()));
        let probed = self.replace(&path, Ok(Vec::new()));
        probed.map_err(Failure::Journal)?;
        remove(&path)
    }

    /// Writes a file whole or not at all, durably: temporary file, fsync, rename, fsync of the directory.
    fn replace(&self, path: &Path, text: io::Result<Vec<u8>>) -> Result<(), JournalError> {
        let temporary = temporary(path);
        let replace = || {
            let text = text?;
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = open_in(path.parent().unwrap_or(&self.dir), &temporary, &options)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(path.parent().unwrap_or(&self.dir))?.sync_all()
        };
        replace().map_err(|source| JournalError::Write {
            path: path.to_owned(),
            source,
        })
    }

    fn path(&self, device: PciAddress) -> PathBuf {
        self.dir.join(format!("{device}.json"))
    }

    fn allocation(&self, device: PciAddress) -> PathBuf {
        self.dir.join("pci").join(device.to_string())
    }

    /// Both parts are checked identifiers or interface names: no path comes of them.
    fn go_state(&self, container_id: &str, ifname: &str) -> PathBuf {
        self.dir.join(format!("{container_id}-{ifname}"))
    }
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Opens a file, and makes its directory first where that is missing.
fn open_in(dir: &Path, path: &Path, options: &OpenOptions) -> io::Result<File> {
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(dir)?;
            options.open(path)
        }
        opened => opened,
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn names(dir: &Path) -> Result<Vec<String>, JournalError> {
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
            Ok(entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Failure::Journal(JournalError::Write {
                path: path.to_owned(),
                source,
            }))
        }
        Ok(()) | Err(_) => Ok(()),
    }
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
mod tests;
