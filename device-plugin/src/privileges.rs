//! What the process must be allowed to do, probed at the start by harmless calls, so that a refusal has a name.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

/// The process may not write where it has to.
#[derive(Debug, thiserror::Error)]
pub enum NotWritable {
    /// Its user may not (capabilities(7), `CAP_DAC_OVERRIDE`).
    #[error("user {user} may not write to `{}`: run as its owner or with CAP_DAC_OVERRIDE", dir.display())]
    Refused {
        /// The effective user.
        user: u32,
        /// The directory.
        dir: PathBuf,
    },
    /// Nobody may.
    #[error("`{}` is read-only: mount it from the host, writable", dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
    },
}

/// Asks whether sockets and files can be made in a directory, or where it would be made; what else is wrong with it shows when it is used.
///
/// # Errors
/// When the answer is no.
pub fn ensure_writable(dir: &Path) -> Result<(), NotWritable> {
    let mut there = dir.ancestors().filter(|dir| dir.is_dir());
    let dir = there.next().unwrap_or(dir).to_owned();
    match access(&dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::EACCES | Errno::EPERM) => Err(NotWritable::Refused {
            user: geteuid().as_raw(),
            dir,
        }),
        Err(Errno::EROFS) => Err(NotWritable::ReadOnly { dir }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_be_made_is_as_good_as_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        ensure_writable(dir.path()).unwrap();
        ensure_writable(&dir.path().join("not/yet")).unwrap();
    }

    #[test]
    fn where_nobody_can_write_is_named() {
        // The kernel lets nobody make files in the directories of a process: root is refused by the mode, too.
        let dir = Path::new("/proc/self/task");
        let error = ensure_writable(dir).map_err(|error| error.to_string());
        assert!(error.is_ok() || error.unwrap_err().contains("/proc/self/task"));
    }
}
