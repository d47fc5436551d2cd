//! Listens on the socket of a pool.

use std::path::Path;

use sriov_host::chain;
use sriov_node::kubelet::socket::{self, Inode, inode};
use sriov_node::kubelet::watcher::Watched;
use sriov_node::proto::pluginregistration::registration_server::RegistrationServer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;

use super::error::ServeError;
use super::server::PoolServer;
use crate::proto::v1beta1::device_plugin_server::DevicePluginServer;

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
        watched: Watched,
        path: &Path,
        servers: &mut JoinSet<()>,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_owned(),
            source,
        };
        let listener = socket::listen(path).map_err(failed)?;
        let inode = inode(path);
        let connections = socket::connections(listener);
        let (is_over, mut over) = watch::channel(false);
        server.is_over = over.clone();
        servers.spawn(async move {
            let end = async move {
                let _ = over.wait_for(|is_over| *is_over).await;
            };
            let router = Server::builder()
                .add_service(DevicePluginServer::new(server))
                .add_service(RegistrationServer::new(watched));
            if let Err(error) = router.serve_with_incoming_shutdown(connections, end).await {
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
