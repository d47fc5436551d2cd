//! Directories of root's state, which our programs enter without a capability.
//!
//! The Go CNI plugin makes `/var/lib/cni/sriov` with mode 0600 (`pkg/utils/pci_allocator.go`, since November 2022).
//! Without `CAP_DAC_OVERRIDE` even root cannot enter such a directory, so a container without capabilities could not read the state.
//! Each of our programs that writes state gives the owner all rights first: a directory that is still shut has no file of ours.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// Rights of the owner.
const OWNERS: u32 = 0o700;
/// The owner's right to enter a directory.
const ENTER: u32 = 0o100;

/// `include/uapi/asm-generic/errno-base.h`; `EPERM` has the same kind, and no mode is its reason.
const EACCES: i32 = 13;

/// Creates a directory and those above it, for root only; opens it, the one above, and those that are shut, for their owner.
///
/// # Errors
/// When it cannot be created or opened.
pub fn make(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(OWNERS);
    builder.create(dir).or_else(|error| {
        if error.raw_os_error() != Some(EACCES) {
            return Err(error);
        }
        let mut above: Vec<&Path> = dir.ancestors().skip(1).collect();
        above.reverse();
        above.into_iter().for_each(open_shut);
        builder.create(dir).map_err(|_again| error)
    })?;
    // A process with `CAP_DAC_OVERRIDE` passes a shut directory, and those that read the file cannot.
    dir.parent().into_iter().for_each(open_shut);
    open(dir)
}

/// Opens a directory that its owner may not enter, if that is allowed; others are left as they are.
fn open_shut(dir: &Path) {
    if is_shut(dir) {
        let _ = open(dir);
    }
}

/// Gives the owner of a directory all rights, and changes nothing else; a missing directory is left alone.
///
/// # Errors
/// When the directory is shut and belongs to somebody else, or is on a file system that is read-only.
pub fn open(dir: &Path) -> io::Result<()> {
    let mode = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.permissions().mode(),
    };
    if mode & OWNERS == OWNERS {
        return Ok(());
    }
    fs::set_permissions(dir, Permissions::from_mode(mode | OWNERS))
}

/// Whether the owner of a directory may not enter it: it has no file of ours.
pub(crate) fn is_shut(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & ENTER == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::path::PathBuf;
    use std::thread;

    use nix::unistd::{Uid, setfsuid};

    use super::*;
    use crate::attachments;
    use crate::claims::ClaimStore;

    fn mode(dir: &Path) -> u32 {
        fs::metadata(dir).unwrap().permissions().mode() & 0o7777
    }

    /// A state directory as the Go plugin makes it, with these modes of the directory and of the one below.
    fn state(above: u32, below: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("sriov");
        fs::create_dir_all(state.join("pci")).unwrap();
        for (dir, mode) in [(&state.join("pci"), below), (&state, above)] {
            fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
        }
        (dir, state)
    }

    /// Runs a function as the owner of all directories, without the capabilities of root.
    fn as_owner<T: Send>(dirs: &[&Path], run: impl FnOnce() -> T + Send) -> T {
        let is_root = Uid::effective().is_root();
        let owner = if is_root {
            Uid::from_raw(65534)
        } else {
            Uid::effective()
        };
        for dir in dirs {
            if is_root {
                chown(dir, Some(owner.as_raw()), None).unwrap();
            }
        }
        thread::scope(|scope| {
            // Of one thread only: the kernel drops its rights to files with it (capabilities(7)).
            let thread = scope.spawn(|| {
                setfsuid(owner);
                run()
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn shut_directories_are_opened_for_their_owner_only() {
        for (above, below, opened) in [
            (0o600, 0o600, 0o700),
            (0o600, 0o755, 0o755),
            (0o700, 0o600, 0o700),
            (0o755, 0o000, 0o700),
            (0o755, 0o1640, 0o1740),
            (0o000, 0o700, 0o700),
        ] {
            let (dir, state) = state(above, below);
            let inner = state.join("pci");
            let made = as_owner(&[dir.path(), &inner, &state], || make(&inner));
            made.unwrap();
            assert_eq!(mode(&inner), opened, "{above:o} {below:o}");
            as_owner(&[], || fs::metadata(inner.join("."))).unwrap();
            make(&state.join("new/newer")).unwrap();
            assert_eq!(mode(&state.join("new")), 0o700);
            open(&state.join("absent")).unwrap();
            assert!(!state.join("absent").exists());
        }
    }

    #[test]
    fn directories_that_are_not_shut_are_left_alone() {
        let (dir, state) = state(0o555, 0o555);
        let inner = state.join("pci");
        let made = as_owner(&[dir.path(), &inner, &state], || {
            make(&inner.join("vf_lock"))
        });
        assert_eq!(made.unwrap_err().raw_os_error(), Some(EACCES));
        assert_eq!((mode(&state), mode(&inner)), (0o555, 0o555));
    }

    #[test]
    fn directory_above_is_opened_by_a_process_that_may_enter_it() {
        let (dir, state) = state(0o600, 0o755);
        make(&state.join("claims")).unwrap();
        assert_eq!(mode(&state), 0o700);
        drop(dir);
    }

    #[test]
    fn file_that_cannot_be_read_is_not_left_out() {
        let (dir, state) = state(0o700, 0o755);
        fs::write(state.join("0000:01:10.0.json"), "{").unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o600)).unwrap();
        let read = as_owner(&[dir.path(), &state], || attachments::read(&state));
        assert_eq!(read.unwrap_err().raw_os_error(), Some(EACCES));
    }

    #[test]
    fn shut_directories_have_no_file_of_ours() {
        for shut in [0o600, 0o666, 0o200] {
            let (dir, state) = state(shut, 0o600);
            let claims = ClaimStore::below(&state);
            let (attachments, claims) = as_owner(&[dir.path(), &state], || {
                fs::metadata(state.join("pci")).unwrap_err();
                (attachments::read(&state), claims.read_all())
            });
            assert!(attachments.unwrap().is_empty(), "{shut:o}");
            assert!(claims.unwrap().is_empty(), "{shut:o}");
        }
    }

    #[test]
    fn open_directories_that_cannot_be_read_are_an_error() {
        let (dir, state) = state(0o711, 0o755);
        let claims = ClaimStore::below(&state);
        fs::create_dir(claims.path()).unwrap();
        fs::set_permissions(claims.path(), Permissions::from_mode(0o700)).unwrap();
        // They belong to somebody else: a security module denies in the same way.
        if Uid::effective().is_root() {
            let (attachments, claims) = as_owner(&[dir.path()], || {
                (attachments::read(&state), claims.read_all())
            });
            attachments.unwrap_err();
            claims.unwrap_err();
        }
    }
}
