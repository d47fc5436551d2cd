//! Checks the privileges of the process at the start by harmless calls, so that a refusal names what is missing.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

/// The process may not write to a directory.
#[derive(Debug, thiserror::Error)]
pub enum NotWritable {
    /// Its user may not (capabilities(7), `CAP_DAC_OVERRIDE`).
    #[error("user {user} may not write to `{}`: run as its owner or with CAP_DAC_OVERRIDE", dir.display())]
    Refused {
        /// The user.
        user: u32,
        /// The directory.
        dir: PathBuf,
    },
    /// Root may not, whose writes no owner restricts.
    #[error("root may not write to `{}`: probably SELinux or another security module forbids it (its audit log shows the refusal), or the container lacks CAP_DAC_OVERRIDE", dir.display())]
    Forbidden {
        /// The directory.
        dir: PathBuf,
    },
    /// Nobody may.
    #[error("`{}` is read-only: mount it from the host, writable", dir.display())]
    ReadOnly {
        /// The directory.
        dir: PathBuf,
    },
    /// The path is not a directory.
    #[error("`{}` is not a directory", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
}

/// Checks that files can be created in a directory, or in the parent where it would be created; other faults show when it is used.
///
/// # Errors
/// When the user may not write, the file system is read-only, or the path is a file.
pub fn ensure_writable(dir: &Path) -> Result<(), NotWritable> {
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
        Err(Errno::EACCES | Errno::EPERM) if user == 0 => Err(NotWritable::Forbidden { dir }),
        Err(Errno::EACCES | Errno::EPERM) => Err(NotWritable::Refused { user, dir }),
        Err(Errno::EROFS) => Err(NotWritable::ReadOnly { dir }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_fine_below_a_writable_one() {
        let dir = tempfile::tempdir().unwrap();
        ensure_writable(dir.path()).unwrap();
        ensure_writable(&dir.path().join("not/yet")).unwrap();
    }

    #[test]
    fn a_file_anywhere_in_the_path_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path().to_owned(), file.path().join("not/yet")] {
            let error = ensure_writable(&path).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`{}` is not a directory", file.path().display())
            );
        }
    }

    #[test]
    fn a_refusal_names_user_directory_and_capability() {
        let refusal_of = |user, errno| {
            let judged = judge(Err(errno), user, "/d".into());
            judged.err().map(|error| error.to_string())
        };
        let refusal = |errno| refusal_of(7, errno);
        let of_root = refusal_of(0, Errno::EACCES).unwrap_or_default();
        assert!(of_root.contains("SELinux"), "{of_root}");
        let refused = "user 7 may not write to `/d`: run as its owner or with CAP_DAC_OVERRIDE";
        assert_eq!(refusal(Errno::EACCES).as_deref(), Some(refused));
        let read_only = "`/d` is read-only: mount it from the host, writable";
        assert_eq!(refusal(Errno::EROFS).as_deref(), Some(read_only));
        assert_eq!(refusal(Errno::ENOENT), None);
    }
}
