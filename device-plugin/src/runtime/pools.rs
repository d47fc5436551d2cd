//! The task that owns the configuration and the snapshot: looks at the devices, and publishes the pools.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sriov_host::snapshot::HostSnapshot;
use sriov_host::{HostRoot, chain};
use sriov_inventory::health_changes::{HealthChange, health_changes};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::Metrics;
use sriov_node::discover::changes::Changes;
use sriov_node::discover::pipeline::Pipeline;
use sriov_node::discover::scan::scan;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::config_file::ConfigFile;
use super::servers::PoolServers;
use super::signals::ShutdownSignals;

/// What wakes the task up, apart from its own timers and the owners.
pub(super) struct Wakeups {
    pub(super) shutdown: ShutdownSignals,
    /// SIGHUP: read the configuration and the devices again.
    pub(super) hangup: Signal,
    pub(super) changes: Changes,
}

/// The task.
#[derive(Debug)]
pub(super) struct PoolsTask {
    pub(super) host: HostRoot,
    pub(super) config: ConfigFile,
    pub(super) pipeline: Pipeline,
    pub(super) metrics: Arc<Metrics>,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    /// All pools, for the other tasks.
    pub(super) all_pools: watch::Sender<Arc<Pools>>,
    pub(super) servers: PoolServers,
    pub(super) timers: Timers,
}

/// When the task continues although nothing wakes it up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers {
    /// A PF is not settled.
    scan_again: Option<Instant>,
    /// A recovered device may be reported.
    recovery: Option<Instant>,
}

impl PoolsTask {
    /// Takes the first scan, then looks again after each change until a shutdown signal.
    pub(super) async fn run(mut self, first: HostSnapshot, mut wakeups: Wakeups) {
        self.owners.mark_unchanged();
        self.look(first, Duration::ZERO).await;
        loop {
            let due = self.timers.scan_again.into_iter();
            let due = due.chain(self.timers.recovery).min();
            tokio::select! {
                () = wakeups.shutdown.recv() => break,
                _ = wakeups.hangup.recv() => self.config.reload(&self.metrics),
                () = wakeups.changes.recv() => self.config.reload(&self.metrics),
                () = reached(due) => {}
                Ok(()) = self.owners.changed() => {
                    self.publish().await;
                    continue;
                }
            }
            self.refresh().await;
        }
        self.servers.end().await;
        tracing::info!("stopped");
    }

    /// Scans the devices and publishes the result; a failed scan changes nothing.
    async fn refresh(&mut self) {
        self.timers = Timers::default();
        let (host, metrics) = (self.host.clone(), Arc::clone(&self.metrics));
        let start = Instant::now();
        // Thousands of VFs are many files; the kubelet's calls must not wait for them.
        let scanned = tokio::task::spawn_blocking(move || scan(&host, &metrics)).await;
        match scanned {
            Ok(Ok(snapshot)) => self.look(snapshot, start.elapsed()).await,
            Ok(Err(error)) => log_failed_scan(&error),
            Err(error) => log_failed_scan(&error),
        }
    }

    async fn look(&mut self, scanned: HostSnapshot, scan_time: Duration) {
        let config = &self.config.resources;
        self.timers.scan_again = self.pipeline.look(&self.host, config, scanned, scan_time);
        self.servers.configure(config);
        self.publish().await;
    }

    /// Judges the pools by the newest owners, and sends those that changed.
    async fn publish(&mut self) {
        let owners = self.owners.borrow().clone();
        let (pools, recovery) = self.pipeline.pools(&owners);
        self.timers.recovery = recovery;
        for change in health_changes(&self.all_pools.borrow(), &pools) {
            log_health(&change);
        }
        self.all_pools.send_if_modified(|now| {
            let is_changed = **now != pools;
            if is_changed {
                *now = Arc::new(pools.clone());
            }
            is_changed
        });
        self.servers.update(pools).await;
    }
}

fn log_failed_scan(error: &dyn Error) {
    tracing::error!(error = %chain(error), "the scan failed, the pools stay as they are");
}

fn log_health(change: &HealthChange) {
    let HealthChange {
        pool,
        devices,
        reason,
    } = change;
    if let Some(reason) = reason {
        tracing::warn!(%pool, %devices, %reason, "devices are unhealthy");
    } else {
        tracing::info!(%pool, %devices, "devices are healthy again");
    }
}

/// Waits for a point in time, or forever.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
