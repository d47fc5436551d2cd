//! Network namespaces: opening and comparing them, and running code in one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use nix::libc;
use nix::net::if_::if_indextoname;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{FsType, fstatfs};
use serde::{Deserialize, Serialize};

/// Identity of a namespace on this boot: device and inode of its nsfs file (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// An open network namespace; it exists at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

/// A namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The path could not be opened.
    #[error("cannot open the network namespace `{}`", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is not a network namespace.
    #[error("`{}` is not a network namespace", path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// The namespace of the calling thread could not be opened, so that it could not return.
    #[error("cannot open the network namespace of this process")]
    Own {
        /// The system's error.
        source: io::Error,
    },
    /// The kernel refused to enter the namespace: this needs `CAP_SYS_ADMIN`.
    #[error("cannot enter the network namespace: this needs CAP_SYS_ADMIN")]
    Enter {
        /// The system's error.
        source: io::Error,
    },
    /// A kernel setting could not be written.
    #[error("cannot write `{value}` to `{path}` in the network namespace")]
    Sysctl {
        /// Path below `/proc/sys`.
        path: String,
        /// The value.
        value: String,
        /// The system's error.
        source: io::Error,
    },
}

impl NetnsError {
    /// Whether the namespace is gone: its path is missing, or no namespace is mounted there any more.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotANamespace { .. } => true,
            Self::Own { .. } | Self::Enter { .. } | Self::Sysctl { .. } => false,
        }
    }
}

impl Netns {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// [`NetnsError::Open`] if the path cannot be opened, [`NetnsError::NotANamespace`] if nothing is mounted on the file any more.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(open)?;
        let kind = fstatfs(&file)
            .map_err(|errno| open(errno.into()))?
            .filesystem_type();
        // linux/magic.h: NSFS_MAGIC; before Linux 3.19 the files were in procfs.
        if kind != FsType(0x6e73_6673) && kind != FsType(0x9fa0) {
            return Err(NetnsError::NotANamespace {
                path: path.to_owned(),
            });
        }
        let stat = file.metadata().map_err(open)?;
        Ok(Self {
            id: NetnsId {
                dev: stat.dev(),
                ino: stat.ino(),
            },
            fd: file.into(),
        })
    }

    /// Opens the namespace that this process is in.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new("/proc/self/ns/net"))
    }

    /// Identity of the namespace.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Its file descriptor, for the kernel.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Number of the namespace, which no other namespace gets on this boot, not even one with the same inode (Linux 5.14).
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn cookie(&self) -> Result<Option<u64>, NetnsError> {
        self.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).ok()?;
            cookie(socket.as_fd())
        })
    }

    /// Runs `work` in the namespace, and returns to the namespace that the calling thread was in, also after a panic.
    ///
    /// A thread of its own would cost 25 system calls more, and is not safer: a thread that cannot return ends the process.
    ///
    /// # Errors
    /// [`NetnsError::Own`], [`NetnsError::Enter`].
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        let own = File::open(OF_THREAD).map_err(|source| NetnsError::Own { source })?;
        // The way back is tried first: a user namespace may own the other namespace, and not this one.
        for to in [own.as_fd(), self.fd()] {
            setns(to, CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Enter {
                source: errno.into(),
            })?;
        }
        let _way_back = WayBack(own);
        Ok(work())
    }

    /// Writes kernel settings of the namespace, each independently, and returns the failures;
    /// a path is below `/proc/sys`, for instance `net/ipv4/conf/net1/arp_notify`.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn write_sysctls(
        &self,
        settings: &[(String, &str)],
    ) -> Result<Vec<NetnsError>, NetnsError> {
        self.run(|| {
            let written = settings.iter().map(|(path, value)| {
                // /proc/sys/net shows the namespace of the thread that opens it.
                std::fs::write(Path::new("/proc/sys").join(path), value).map_err(|source| {
                    NetnsError::Sysctl {
                        path: path.clone(),
                        value: (*value).to_owned(),
                        source,
                    }
                })
            });
            written.filter_map(Result::err).collect()
        })
    }
}

/// The namespace of the calling thread.
const OF_THREAD: &str = "/proc/thread-self/ns/net";

/// Returns the calling thread to its namespace.
struct WayBack(File);

impl Drop for WayBack {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            // What follows would change network devices of the wrong namespace. The next call continues from the journal.
            process::abort();
        }
    }
}

/// Number of the namespace of a socket (`SO_NETNS_COOKIE`); `None` before Linux 5.14.
pub fn cookie(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).ok()?;
    let value = std::ptr::from_mut(&mut cookie).cast();
    #[expect(unsafe_code, reason = "nix has no such option")]
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes, which is the size of the number.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            value,
            &raw mut length,
        )
    };
    (done == 0).then_some(cookie)
}

/// `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: i32 = 71;

/// Whether the namespace of the calling thread has a link of this index; if not, a link that moves there keeps its index.
pub fn has_index(index: u32) -> bool {
    // nix returns an empty name if there is no such link.
    if_indextoname(index).is_ok_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use nix::sched::unshare;

    use super::*;
    use crate::ethtool::Ethtool;

    #[test]
    fn file_without_mount_is_a_gone_namespace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Netns::open(file.path()).unwrap_err();
        assert!(
            matches!(error, NetnsError::NotANamespace { .. }) && error.is_gone(),
            "{error}"
        );
        assert!(Netns::open(Path::new("/nowhere/ns")).unwrap_err().is_gone());
    }

    #[test]
    fn missing_link_has_no_index() {
        assert!(has_index(1) && !has_index(0x7fff_fff0));
    }

    #[test]
    fn cookie_of_a_namespace_is_that_of_its_sockets() {
        let socket = Ethtool::open().unwrap();
        let expected = cookie(socket.as_fd());
        // Only root may enter a namespace, also its own.
        if let Ok(found) = Netns::current().unwrap().cookie() {
            assert_eq!(found, expected);
        }
        assert!(expected.is_none_or(|cookie| cookie > 0));
    }

    #[test]
    fn thread_returns_to_its_namespace_also_after_a_panic() {
        let own = || Netns::open(Path::new(OF_THREAD)).unwrap().id();
        let before = own();
        // Only root may make a namespace.
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map(|()| Netns::open(Path::new(OF_THREAD)).unwrap())
        });
        let Ok(other) = made.join().unwrap() else {
            return;
        };
        let Ok(found) = other.run(own) else {
            // In a user namespace that does not own the network namespace of this test.
            return;
        };
        assert_eq!(found, other.id());
        assert_eq!(own(), before);
        let panicked = catch_unwind(AssertUnwindSafe(|| other.run(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(own(), before);
    }

    #[test]
    fn namespace_is_equal_to_itself() {
        let (a, b) = (Netns::current().unwrap(), Netns::current().unwrap());
        assert_eq!(a.id(), b.id());
    }
}
