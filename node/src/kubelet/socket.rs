//! Unix sockets for the kubelet: they appear when they accept connections, and their streams have a valid authority.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_device_info::atomic;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};

use super::authority::LocalAuthority;
use sriov_host::stable_hash::stable_hash;

/// Longest path of a unix socket: `sun_path` holds 108 bytes with the terminating zero (unix(7)).
pub const LONGEST_PATH: usize = 107;
/// Without free descriptors every accept fails at once; this is the pause between them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Creates a socket that accepts connections as soon as it has its name; what was there before is replaced.
///
/// The kubelet's watcher ignores names that begin with a dot, and blocks for seconds on a socket that does not accept connections.
///
/// # Errors
/// When the socket cannot be created.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let hidden = hidden(path);
    atomic::remove(&hidden)?;
    let listener = UnixListener::bind(&hidden)?;
    fs::rename(&hidden, path).inspect_err(|_| {
        let _ = fs::remove_file(&hidden);
    })?;
    Ok(listener)
}

/// The connections of a socket, for a gRPC server.
pub fn connections(
    listener: UnixListener,
) -> impl Stream<Item = io::Result<LocalAuthority<UnixStream>>> {
    UnixListenerStream::new(listener).then(async |accepted| {
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        accepted.map(LocalAuthority::new)
    })
}

/// Identity of a socket: inode numbers are reused at once, so the time of creation is part of it.
pub type Inode = (u64, i64);

/// The identity of the socket at a path; absent when there is none.
pub fn inode(path: &Path) -> Option<Inode> {
    let stat = fs::symlink_metadata(path).ok()?;
    Some((
        stat.ino(),
        stat.ctime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(stat.ctime_nsec()),
    ))
}

/// The name of a socket before it accepts connections; never longer than the names that we use.
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let hash = stable_hash(name.as_encoded_bytes()) & 0xff_ffff;
    path.with_file_name(format!(".{hash:06x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_replaces_leftovers_and_accepts_connections() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("driver-reg.sock");
        let mut before = None;
        for _ in 0..2 {
            // A killed process leaves both names.
            fs::write(hidden(&path), "").unwrap();
            let listener = listen(&path).unwrap();
            UnixStream::connect(&path).await.unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            let now = inode(&path);
            assert!(now.is_some() && now != before);
            before = now;
            drop(listener);
        }
    }

    #[tokio::test]
    async fn directory_that_is_missing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(listen(&dir.path().join("missing/a.sock")).is_err());
    }
}
