//! Serves both sockets of this instance, and keeps the driver registered with the kubelet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sriov_host::chain;
use sriov_node::kubelet::socket::{self, Inode, inode};
use sriov_node::kubelet::watcher::{self, Registered, Watched};
use sriov_node::proto::pluginregistration::registration_server::RegistrationServer;
use sriov_node::watch_dir::DirEvents;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;

use super::endpoint::Endpoint;
use super::health::Health;
use super::plugin::Plugin;
use crate::prepare::{ClaimSource, Preparer};
use crate::proto::dra_v1::dra_plugin_server::DraPluginServer;
use crate::proto::health_v1::dra_resource_health_server::DraResourceHealthServer;
use crate::proto::health_v1alpha1::dra_resource_health_server::DraResourceHealthServer as DraResourceHealthServerAlpha;
use crate::settings::Settings;

/// The services, in the order in which the kubelet prefers them; 1.36 has only the older version of the health service.
const VERSIONS: &[&str] = &[
    "v1.DRAPlugin",
    "v1.DRAResourceHealth",
    "v1alpha1.DRAResourceHealth",
];
/// Calls in progress get this long to finish when the driver stops.
const GRACE: Duration = Duration::from_secs(2);
/// A node may have no resource at all; its claims are unprepared nevertheless.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(5);

/// The sockets could not be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the path `{}` is too long for a socket, whatever its name is", .0.display())]
    TooLong(PathBuf),
    #[error("cannot use the directory `{}`", path.display())]
    Dir { path: PathBuf, source: io::Error },
    #[error("cannot listen on `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
}

/// The sockets of this instance, before they are served.
pub(crate) struct KubeletSide<S> {
    preparer: Arc<Preparer<S>>,
    endpoint: Endpoint,
    /// Changes of the directory with the registration socket: whoever removes it takes the registration away.
    events: DirEvents,
}

impl<S: ClaimSource> KubeletSide<S> {
    /// Chooses the paths, and creates the driver's directory.
    ///
    /// # Errors
    /// When the kubelet's directories cannot be used.
    pub(crate) fn new(settings: &Settings, preparer: Preparer<S>) -> Result<Self, ServeError> {
        let driver_dir = &preparer.paths.driver_dir;
        let uid = settings.pod_uid.as_deref();
        let endpoint = Endpoint::new(&settings.kubelet_dir, driver_dir, &settings.driver, uid);
        let endpoint = endpoint.map_err(ServeError::TooLong)?;
        let failed = |path: &Path, source| ServeError::Dir {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(driver_dir).map_err(|source| failed(driver_dir, source))?;
        let registry = settings.kubelet_dir.join("plugins_registry");
        // On a new node the driver may be faster than the kubelet.
        fs::create_dir_all(&registry).map_err(|source| failed(&registry, source))?;
        let events = DirEvents::of(&registry).map_err(|source| failed(&registry, source))?;
        Ok(Self {
            preparer: Arc::new(preparer),
            endpoint,
            events,
        })
    }

    /// Restores the prepared claims, and serves until `stop`; then both sockets are removed, and prepared claims stay.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Claims are prepared by the pools, which are known after the first look at the devices.
        let mut pools = self.preparer.pools.clone();
        tokio::select! {
            _ = stop.changed() => return,
            _ = pools.wait_for(|pools| !pools.pools.is_empty()) => {}
            () = tokio::time::sleep(FIRST_LOOK) => {}
        }
        self.preparer.restore().await;
        while !*stop.borrow() {
            let served = self.serve_once(&mut stop).await;
            if let Err(error) = served {
                let error = chain(&error);
                tracing::error!(error, "not served, next try in {} s", RETRY.as_secs());
                tokio::select! {
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
        for path in [&self.endpoint.registration, &self.endpoint.service] {
            let _ = fs::remove_file(path);
        }
    }

    /// Serves both sockets until one is removed by somebody else, or until `stop`.
    async fn serve_once(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), ServeError> {
        let (over, is_over) = watch::channel(false);
        let mut servers = JoinSet::new();
        // The service first: the kubelet connects to it right after the registration.
        self.serve_plugin(&is_over, &mut servers)?;
        let (registered, mut outcomes) = mpsc::channel(4);
        self.serve_registration(registered, &is_over, &mut servers)?;
        let identity = self.identity();
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                () = self.events.changed() => {
                    if self.identity() != identity {
                        tracing::warn!("a socket was removed, serving again");
                        break;
                    }
                }
                Some(outcome) = outcomes.recv() => Self::note(&outcome),
            }
        }
        if *stop.borrow() {
            // The kubelet makes no new calls to a driver that has deregistered.
            let _ = fs::remove_file(&self.endpoint.registration);
        }
        over.send_replace(true);
        let ended = async { while servers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
        Ok(())
    }

    fn identity(&self) -> [Option<Inode>; 2] {
        [
            inode(&self.endpoint.registration),
            inode(&self.endpoint.service),
        ]
    }

    fn note(outcome: &Registered) {
        match outcome {
            Ok(()) => tracing::info!("registered with the kubelet"),
            Err(reason) => tracing::error!(reason, "the kubelet refused the registration"),
        }
    }

    fn serve_plugin(
        &self,
        is_over: &watch::Receiver<bool>,
        servers: &mut JoinSet<()>,
    ) -> Result<(), ServeError> {
        let path = &self.endpoint.service;
        let listener = socket::listen(path).map_err(|source| listen(path, source))?;
        let health = Health {
            pools: self.preparer.pools.clone(),
            node: self.preparer.paths.node.to_string(),
            is_over: is_over.clone(),
        };
        let router = Server::builder()
            .add_service(DraPluginServer::new(Plugin(Arc::clone(&self.preparer))))
            .add_service(DraResourceHealthServer::new(health.clone()))
            .add_service(DraResourceHealthServerAlpha::new(health));
        let end = ended(is_over.clone());
        servers.spawn(async move {
            let connections = socket::connections(listener);
            if let Err(error) = router.serve_with_incoming_shutdown(connections, end).await {
                tracing::error!(error = chain(&error), "cannot serve the driver's socket");
            }
        });
        Ok(())
    }

    fn serve_registration(
        &self,
        registered: mpsc::Sender<Registered>,
        is_over: &watch::Receiver<bool>,
        servers: &mut JoinSet<()>,
    ) -> Result<(), ServeError> {
        let path = &self.endpoint.registration;
        let listener = socket::listen(path).map_err(|source| listen(path, source))?;
        let plugin = watcher::Plugin {
            kind: "DRAPlugin",
            name: self.preparer.paths.driver.to_string(),
            endpoint: self.endpoint.service.to_string_lossy().into_owned(),
            versions: VERSIONS,
        };
        let router =
            Server::builder().add_service(RegistrationServer::new(Watched { plugin, registered }));
        let end = ended(is_over.clone());
        servers.spawn(async move {
            let connections = socket::connections(listener);
            if let Err(error) = router.serve_with_incoming_shutdown(connections, end).await {
                tracing::error!(
                    error = chain(&error),
                    "cannot serve the registration socket"
                );
            }
        });
        Ok(())
    }
}

fn listen(path: &Path, source: io::Error) -> ServeError {
    ServeError::Listen {
        path: path.to_owned(),
        source,
    }
}

async fn ended(mut is_over: watch::Receiver<bool>) {
    let _ = is_over.wait_for(|is_over| *is_over).await;
}
