//! The task that owns the configuration and the pools: the core loop. It never reads the devices itself, and so always handles signals.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use sriov_host::chain;
use sriov_inventory::health_changes::{HealthChange, health_changes};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::counts::{Counts, Shared};
use sriov_node::discover::background_scan::{BackgroundScanError, BackgroundScans};
use sriov_node::discover::changes::Changes;
use sriov_node::discover::pipeline::{Pipeline, Seen};
use sriov_node::heartbeat::Pulse;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::config_file::ConfigFile;
use super::error::StartError;
use super::servers::PoolServers;
use super::signals::ShutdownSignals;

/// What wakes the task up, apart from its own timers, the looks and the owners.
pub(super) struct Wakeups {
    pub(super) shutdown: ShutdownSignals,
    /// SIGHUP: read the configuration and the devices again.
    pub(super) hangup: Signal,
    pub(super) changes: Changes,
    /// Probes of the loop.
    pub(super) pulse: Pulse,
}

/// The task.
#[derive(Debug)]
pub(super) struct PoolsTask {
    pub(super) config: ConfigFile,
    pub(super) looks: BackgroundScans,
    pub(super) pipeline: Pipeline,
    pub(super) counts: Arc<Shared<Counts>>,
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
    /// Looks at the devices, and again after each change, until a shutdown signal.
    ///
    /// # Errors
    /// When the first look fails.
    pub(super) async fn run(mut self, mut wakeups: Wakeups) -> Result<(), StartError> {
        self.owners.mark_unchanged();
        let mut is_first = true;
        self.looks.request(&self.config.resources);
        loop {
            tokio::select! {
                () = wakeups.shutdown.recv() => break,
                _ = wakeups.hangup.recv() => self.reload().await,
                () = wakeups.changes.recv() => self.reload().await,
                () = wakeups.pulse.answer() => {}
                () = reached(self.timers.scan_again) => self.look(),
                () = reached(self.timers.recovery) => self.publish().await,
                Ok(()) = self.owners.changed() => self.publish().await,
                seen = self.looks.next() => match seen {
                    Ok(seen) => {
                        is_first = false;
                        self.take(seen).await;
                    }
                    Err(BackgroundScanError::Scan(error)) if is_first => return Err(StartError::Scan(error)),
                    Err(BackgroundScanError::Overdue) => self.go_on_without_look().await,
                    Err(error) => log_failed_look(&error),
                },
            }
        }
        self.servers.end().await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Reads the configuration again, and looks at the devices.
    async fn reload(&mut self) {
        self.config.reload(&self.counts);
        self.look();
        if self.looks.is_overdue() {
            self.plan_again().await;
        }
    }

    fn look(&mut self) {
        self.timers.scan_again = None;
        self.looks.request(&self.config.resources);
    }

    async fn take(&mut self, seen: Seen) {
        let is_complete = seen.is_complete();
        self.counts
            .count(|counts| counts.are_devices_known |= is_complete);
        let config = &self.config.resources;
        self.timers.scan_again = self.pipeline.take(seen, config);
        self.servers.configure(config);
        self.publish().await;
    }

    /// A configuration that changed during the look applies to the devices that were seen last.
    async fn go_on_without_look(&mut self) {
        log_failed_look(&BackgroundScanError::Overdue);
        self.plan_again().await;
    }

    async fn plan_again(&mut self) {
        let config = &self.config.resources;
        // Before the first look there is nothing to plan.
        if self.pipeline.snapshot().functions.is_empty() {
            return;
        }
        self.pipeline.plan_again(config);
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

fn log_failed_look(error: &dyn Error) {
    tracing::error!(error = %chain(error), "cannot see changes of the devices, the pools contain what was seen last");
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
