//! The gRPC servers of the pools: starts one with the first device of a pool, and stops those that the configuration no longer names.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::ResourceList;
use sriov_config::resource_list::{Publish, ResourceName};
use sriov_host::chain;
use sriov_inventory::pool::{Pool, Pools};
use sriov_node::daemon::core_loop::FrontEnd;
use sriov_node::grant::Granter;
use sriov_node::watch_dir::DirEvents;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::kubelet::counts::SharedKubeletCounts;
use crate::kubelet::place::Place;
use crate::kubelet::registration::Registrar;
use crate::kubelet::served_pool::{Preferences, ServedPool};
use crate::kubelet::server::PoolServer;

/// The servers of all pools.
#[derive(Debug)]
pub(super) struct PoolServers {
    /// Where their sockets are.
    place: Place,
    /// Changes of that directory.
    events: DirEvents,
    granter: Granter,
    counts: Arc<SharedKubeletCounts>,
    /// The preferences in the configuration of the newest plan.
    preferences: BTreeMap<ResourceName, Preferences>,
    running: BTreeMap<ResourceName, RunningServer>,
}

#[derive(Debug)]
struct RunningServer {
    pool: watch::Sender<Arc<ServedPool>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl PoolServers {
    pub(super) fn new(
        place: Place,
        events: DirEvents,
        granter: Granter,
        counts: Arc<SharedKubeletCounts>,
    ) -> Self {
        Self {
            place,
            events,
            granter,
            counts,
            preferences: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    fn served(&self, pool: Pool) -> ServedPool {
        let preferences = self.preferences.get(&pool.name).copied();
        ServedPool {
            pool,
            preferences: preferences.unwrap_or_default(),
        }
    }

    fn start(&self, served: ServedPool) -> RunningServer {
        let name = served.pool.name.clone();
        log_size(&served.pool);
        let path = self.place.socket(&name);
        let (pool, receive) = watch::channel(Arc::new(served));
        let (stop, stopped) = watch::channel(false);
        let (_, is_over) = watch::channel(false);
        let api = PoolServer {
            pool: receive,
            granter: self.granter.clone(),
            counts: Arc::clone(&self.counts),
            is_over,
            streams: watch::Sender::new(0),
        };
        let registrar = Registrar {
            server: api,
            place: self.place.clone(),
            name,
            path,
            events: self.events.clone(),
            registered: mpsc::channel(1),
        };
        let task = tokio::spawn(registrar.run(stopped));
        RunningServer { pool, stop, task }
    }
}

impl FrontEnd for PoolServers {
    const PUBLISH: Publish = Publish::DevicePlugin;

    fn configure(&mut self, config: &ResourceList) {
        let resources = config.resources.iter();
        self.preferences = resources
            .map(|resource| (resource.name.clone(), Preferences::of(resource)))
            .collect();
    }

    /// Sends each pool to its server.
    async fn publish(&mut self, pools: Pools) {
        let mut removed = std::mem::take(&mut self.running);
        for pool in pools.pools {
            let name = pool.name.clone();
            let server = match removed.remove(&name) {
                Some(server) => {
                    server.update(self.served(pool));
                    server
                }
                None if pool.ids().is_empty() => {
                    tracing::warn!(
                        pool = %name,
                        "no devices, not advertised until there are; `sriov-device-plugin explain {name}` shows why"
                    );
                    continue;
                }
                None => self.start(self.served(pool)),
            };
            self.running.insert(name, server);
        }
        for (name, server) in removed {
            tracing::info!(pool = %name, "no longer in the configuration");
            server.end().await;
            self.counts.remove(&name);
        }
    }

    /// Ends all servers: their sockets are removed; the files of devices stay, as pods go on.
    async fn end(self) {
        for server in self.running.values() {
            server.stop.send_replace(true);
        }
        for server in self.running.into_values() {
            server.end().await;
        }
    }
}

impl RunningServer {
    fn update(&self, served: ServedPool) {
        self.pool.send_if_modified(|now| {
            let is_changed = **now != served;
            if is_changed {
                log_size(&served.pool);
                *now = Arc::new(served);
            }
            is_changed
        });
    }

    async fn end(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(error = %chain(&error), "the server of a pool failed");
        }
    }
}

fn log_size(pool: &Pool) {
    tracing::info!(pool = %pool.name, "{} devices", pool.devices.len());
}
