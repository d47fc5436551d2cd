//! A lock on a file, for parts that change the same files of the node.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The lock; it ends when this is dropped, or the process is killed.
#[derive(Debug)]
pub struct FileLock {
    _lock: Flock<File>,
}

impl FileLock {
    /// Takes the lock of a file, which is created if it is missing; absent while somebody else has the lock, also in this process.
    ///
    /// # Errors
    /// When the file cannot be created or locked.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_free_after_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/one.lock");
        let lock = FileLock::try_take(&path).unwrap();
        assert!(lock.is_some());
        assert!(FileLock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(FileLock::try_take(&path).unwrap().is_some());
        assert!(FileLock::try_take(dir.path()).is_err());
    }
}
