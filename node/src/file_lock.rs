//! A lock on a file, for parts that change the same files of the node.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// The lock; it ends when this is dropped, or the process is killed.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
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
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
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
