//! Watches a directory for files that are created, removed or written.

use std::io;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::watch;

/// Changes of a directory; each clone receives all of them.
#[derive(Clone, Debug)]
pub struct DirEvents(watch::Receiver<u64>);

impl DirEvents {
    /// Watches for created and removed files, on a thread that sleeps in the kernel; it ends with the process, or at the first change without a
    /// receiver.
    ///
    /// # Errors
    /// When the directory is missing, or the process has no more inotify watches.
    pub fn of(dir: &Path) -> io::Result<Self> {
        Self::watch(
            dir,
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_TO,
        )
    }

    /// Watches for written files as well.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_files(dir: &Path) -> io::Result<Self> {
        Self::watch(
            dir,
            AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_DELETE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_CLOSE_WRITE,
        )
    }

    fn watch(dir: &Path, events: AddWatchFlags) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(dir, events)?;
        let (send, receive) = watch::channel(0_u64);
        std::thread::Builder::new()
            .name("watch-dir".to_owned())
            .spawn(move || {
                while let Ok(events) = inotify.read_events()
                    && !send.is_closed()
                {
                    send.send_modify(|count| *count = count.wrapping_add(1));
                    // The kernel sends no event after the one about the removal of the directory (inotify(7), `IN_IGNORED`).
                    let mut masks = events.iter().map(|event| event.mask);
                    if masks.any(|mask| mask.contains(AddWatchFlags::IN_IGNORED)) {
                        break;
                    }
                }
            })?;
        Ok(Self(receive))
    }

    /// Whether the directory was removed, so that there are no more changes.
    pub fn has_ended(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for the next change; never returns when the watch has ended.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watch_ends_with_its_directory() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("d");
        std::fs::create_dir(&dir).unwrap();
        let mut events = DirEvents::of(&dir).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        events.changed().await;
        assert!(!events.has_ended());
        std::fs::remove_dir_all(&dir).unwrap();
        while !events.has_ended() {
            let next = tokio::time::timeout(std::time::Duration::from_secs(10), events.changed());
            if next.await.is_err() {
                break;
            }
        }
        assert!(events.has_ended());
    }
}
