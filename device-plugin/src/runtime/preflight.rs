//! What the process must be allowed to do, probed at the start by harmless calls, so that a refusal has a name.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

/// The process may not write where it has to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWritable {
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
    /// Something else has its name.
    #[error("`{}` is no directory", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
}

/// Asks whether sockets and files can be made in a directory, or where it would be made; what else is wrong with it shows when it is used.
///
/// # Errors
/// When the answer is no.
pub(crate) fn ensure_writable(dir: &Path) -> Result<(), NotWritable> {
    let mut there = dir.ancestors().filter(|dir| dir.exists());
    let dir = there.next().unwrap_or(dir).to_owned();
    if dir.exists() && !dir.is_dir() {
        return Err(NotWritable::NoDirectory { path: dir });
    }
    let answer = access(&dir, AccessFlags::W_OK | AccessFlags::X_OK);
    judge(answer, geteuid().as_raw(), dir)
}

fn judge(answer: Result<(), Errno>, user: u32, dir: PathBuf) -> Result<(), NotWritable> {
    match answer {
        Err(Errno::EACCES | Errno::EPERM) => Err(NotWritable::Refused { user, dir }),
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
    fn a_file_is_no_directory_wherever_in_the_path_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("not/yet")] {
            let error = ensure_writable(&path).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`{}` is no directory", file.path().display())
            );
        }
    }

    #[test]
    fn a_refusal_names_user_directory_and_capability() {
        let said = |errno| {
            let judged = judge(Err(errno), 7, "/d".into());
            judged.err().map(|error| error.to_string())
        };
        let refused = "user 7 may not write to `/d`: run as its owner or with CAP_DAC_OVERRIDE";
        assert_eq!(said(Errno::EACCES).as_deref(), Some(refused));
        let read_only = "`/d` is read-only: mount it from the host, writable";
        assert_eq!(said(Errno::EROFS).as_deref(), Some(read_only));
        assert_eq!(said(Errno::ENOENT), None);
    }
}
