//! The lock that one instance of the driver holds while it changes anything: two instances run during a rolling update.
//! The upkeep of device-info files takes it as well.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sriov_node::file_lock::FileLock;

use super::error::StateError;

/// The kubelet gives a call 45 s.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The lock; it ends when this is dropped, or the process is killed.
#[derive(Debug)]
pub(crate) struct SerializeLock {
    _lock: FileLock,
}

impl SerializeLock {
    /// The lock file, whose name the Go drivers use as well.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("serialize.lock")
    }

    /// Waits for the lock. It blocks, so the caller runs it on a thread of its own.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another call does not end.
    pub(crate) fn take(dir: &Path) -> Result<Self, StateError> {
        Self::take_within(dir, PATIENCE)
    }

    fn take_within(dir: &Path, patience: Duration) -> Result<Self, StateError> {
        let path = Self::path(dir);
        let start = Instant::now();
        loop {
            let lock = FileLock::try_take(&path).map_err(|source| StateError::Lock {
                path: path.clone(),
                source,
            })?;
            if let Some(lock) = lock {
                return Ok(Self { _lock: lock });
            }
            if start.elapsed() >= patience {
                return Err(StateError::Busy {
                    path,
                    after: patience,
                });
            }
            sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_that_is_held_is_an_error_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made");
        let first = SerializeLock::take(&dir).unwrap();
        let error = SerializeLock::take_within(&dir, Duration::ZERO).unwrap_err();
        assert!(
            error.to_string().contains("serialize.lock` for 0 s"),
            "{error}"
        );
        drop(first);
        SerializeLock::take_within(&dir, Duration::ZERO).unwrap();
    }
}
