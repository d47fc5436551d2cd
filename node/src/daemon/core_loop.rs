//! The core loop: owns the configuration and the pools. It never reads the devices itself, and so always handles signals.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::counts::{Counts, Shared};
use crate::discover::background_scan::{BackgroundScanError, BackgroundScans};
use crate::discover::changes::Changes;
use crate::discover::pipeline::{Pipeline, Seen};
use crate::heartbeat::Pulse;
use sriov_config::ResourceList;
use sriov_config::resource_list::Publish;
use sriov_host::chain;
use sriov_host::snapshot::HostSnapshot;
use sriov_inventory::health_changes::{HealthChange, health_changes};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::config_file::ConfigFile;
use super::error::DaemonError;
use super::signals::ShutdownSignals;

/// What wakes the task up, apart from its own timers, the looks and the owners.
pub struct Wakeups {
    /// The signals that end the daemon.
    pub shutdown: ShutdownSignals,
    /// SIGHUP: read the configuration and the devices again.
    pub hangup: Signal,
    /// The devices or the configuration may have changed.
    pub changes: Changes,
    /// Probes of the loop.
    pub pulse: Pulse,
}

impl Wakeups {
    /// Handles the signals and follows the changes from now on.
    ///
    /// # Errors
    /// When a signal cannot be handled.
    pub fn subscribe(config_file: &Path, pulse: Pulse) -> Result<Self, DaemonError> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).map_err(DaemonError::Runtime)?,
            shutdown: ShutdownSignals::new().map_err(DaemonError::Runtime)?,
            changes: Changes::of(config_file),
            pulse,
        })
    }
}

/// Publishes pools to whoever allocates the devices.
pub trait FrontEnd {
    /// Which resources it publishes.
    const PUBLISH: Publish;

    /// Takes over the configuration of the newest plan.
    fn configure(&mut self, config: &ResourceList);

    /// Publishes its pools.
    fn publish(&mut self, pools: Pools) -> impl Future<Output = ()> + Send;

    /// Ends what it started.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// The loop.
#[derive(Debug)]
pub struct Core<F> {
    /// The configuration.
    pub config: ConfigFile,
    /// The looks at the devices.
    pub looks: BackgroundScans,
    /// The stages from a scan to the pools.
    pub pipeline: Pipeline,
    /// The counts.
    pub counts: Arc<Shared<Counts>>,
    /// Who holds which device.
    pub owners: watch::Receiver<Arc<Owners>>,
    /// The pools of this front end, for the other tasks.
    pub all_pools: watch::Sender<Arc<Pools>>,
    /// The newest snapshot of the machine, for the counters of its VFs.
    pub snapshot: watch::Sender<Arc<HostSnapshot>>,
    /// Whoever publishes the pools.
    pub front_end: F,
    /// The timers.
    pub timers: Timers,
}

/// When the task continues although nothing wakes it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers {
    /// A PF is not settled.
    scan_again: Option<Instant>,
    /// A recovered device may be reported.
    recovery: Option<Instant>,
}

impl<F: FrontEnd> Core<F> {
    /// Looks at the devices, and again after each change, until a shutdown signal.
    ///
    /// # Errors
    /// When the first look fails.
    pub async fn run(mut self, mut wakeups: Wakeups) -> Result<(), DaemonError> {
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
                    Err(BackgroundScanError::Scan(error)) if is_first => return Err(DaemonError::Scan(error)),
                    Err(BackgroundScanError::Overdue) => self.go_on_without_look().await,
                    Err(error) => log_failed_look(&error),
                },
            }
        }
        self.front_end.end().await;
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
        let owners = self.owners.borrow().clone();
        self.timers.scan_again = self.pipeline.take(seen, config, &owners);
        self.snapshot
            .send_replace(Arc::clone(self.pipeline.snapshot()));
        self.front_end.configure(config);
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
        let owners = self.owners.borrow().clone();
        self.pipeline.plan_again(config, &owners);
        self.front_end.configure(config);
        self.publish().await;
    }

    /// Judges the pools by the newest owners, and sends those that changed.
    async fn publish(&mut self) {
        let owners = self.owners.borrow().clone();
        let (mut pools, recovery) = self.pipeline.pools(&owners);
        // Planned and judged together: a device is in one pool, whichever front end publishes it.
        pools.pools.retain(|pool| pool.publish == F::PUBLISH);
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
        self.front_end.publish(pools).await;
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
