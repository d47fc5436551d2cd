//! Listens on the socket of a pool.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use sriov_host::chain;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::error::ServeError;
use super::server::PoolServer;
use crate::proto::pluginregistration::registration_server::RegistrationServer;
use crate::proto::v1beta1::device_plugin_server::DevicePluginServer;

/// Without free descriptors every accept fails at once; this is the pause between them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A socket that is served while this exists; its connections end with it, ListAndWatch streams included.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) inode: Option<Inode>,
    is_over: watch::Sender<bool>,
}

impl Listening {
    /// Listens and serves on a task of `servers`.
    ///
    /// # Errors
    /// When the socket cannot be created.
    pub(super) fn start(
        mut server: PoolServer,
        path: &Path,
        servers: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_owned(),
            source,
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let inode = inode(path);
        let incoming = UnixListenerStream::new(listener).then(async |accepted| {
            if accepted.is_err() {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            accepted
        });
        let (is_over, mut over) = watch::channel(false);
        server.is_over = over.clone();
        servers.spawn(async move {
            let end = async move {
                let _ = over.wait_for(|is_over| *is_over).await;
            };
            let router = Server::builder()
                .add_service(DevicePluginServer::new(server.clone()))
                .add_service(RegistrationServer::new(server));
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, end).await {
                tracing::error!(error = %chain(&error), "cannot serve the socket");
            }
        });
        Ok(Self { inode, is_over })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.is_over.send_replace(true);
    }
}

/// Identity of a socket: inode numbers are reused at once, so the time of creation is part of it.
pub(super) type Inode = (u64, i64);

/// The identity of the socket at a path; absent when there is none.
pub(super) fn inode(path: &Path) -> Option<Inode> {
    let stat = fs::symlink_metadata(path).ok()?;
    Some((
        stat.ino(),
        stat.ctime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(stat.ctime_nsec()),
    ))
}
