//! The task that keeps the status of prepared claims current: from the hand-over files and the journal, by server-side apply.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sriov_device_info::claims::{ClaimRef, ClaimStore};
use sriov_host::{HostRoot, chain};
use sriov_node::holders::journal;
use sriov_node::watch_dir::DirEvents;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::clock;
use crate::api::client::ApiServer;
use crate::settings::DriverName;
use crate::status::{DeviceStatus, statuses};

/// The CNI plugin writes several files for one call.
const SETTLE: Duration = Duration::from_millis(20);
/// The slow timer, for directories that cannot be watched yet.
const SLOW: Duration = Duration::from_secs(30);

/// The status of all claims.
type Statuses = BTreeMap<ClaimRef, Vec<DeviceStatus>>;

/// The task.
pub(super) struct ClaimStatusTask {
    pub(super) api: ApiServer,
    pub(super) driver: DriverName,
    pub(super) host: HostRoot,
    pub(super) cni_dir: PathBuf,
}

/// A status that was applied.
#[derive(Clone, Debug)]
struct Applied {
    devices: Vec<DeviceStatus>,
    /// For each device, since when its conditions hold.
    since: Vec<Vec<Time>>,
}

impl ClaimStatusTask {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let claims = ClaimStore::below(&self.cni_dir);
        let (mut journal, mut files) = (None, None);
        let mut applied: BTreeMap<ClaimRef, Applied> = BTreeMap::new();
        let (mut backoff, mut logged) = (Backoff::default(), None);
        let mut due = Instant::now();
        loop {
            // The directories are made by the first attachment and the first claim.
            journal = journal.or_else(|| DirEvents::of(&self.cni_dir).ok());
            files = files.or_else(|| DirEvents::of(claims.path()).ok());
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = changed(journal.as_mut()) => {
                    due = due.min(Instant::now() + SETTLE);
                    continue;
                }
                () = changed(files.as_mut()) => {
                    due = due.min(Instant::now() + SETTLE);
                    continue;
                }
            }
            let error = self.refresh(&claims, &mut applied).await.err();
            if error.is_some() && error != logged {
                tracing::warn!(
                    error = error.as_deref(),
                    "the status of claims may be out of date"
                );
            }
            due = Instant::now();
            if error.is_some() {
                due += backoff.pause(self.api.observed().pause());
            } else {
                backoff.reset();
                due += SLOW;
            }
            logged = error;
        }
    }

    /// Applies what differs from what was applied before; returns the first failure, after all others were tried.
    async fn refresh(
        &self,
        store: &ClaimStore,
        applied: &mut BTreeMap<ClaimRef, Applied>,
    ) -> Result<(), String> {
        let wanted = self.read(store.clone()).await?;
        applied.retain(|claim, _| wanted.contains_key(claim));
        let mut failed = Ok(());
        for (claim, devices) in wanted {
            let before = applied.get(&claim);
            if before.is_some_and(|before| before.devices == devices) {
                continue;
            }
            let next = Applied::after(before, devices, &clock::now());
            let devices: Vec<_> = next
                .devices
                .iter()
                .zip(next.since.iter().cloned())
                .collect();
            match self.api.apply_status(&self.driver, &claim, &devices).await {
                Ok(()) => drop(applied.insert(claim, next)),
                // The claim is gone, or another one has its name: nothing is left to report.
                Err(error) if error.is_not_found() || error.is_conflict() => {
                    applied.insert(claim, next);
                }
                Err(error) => failed = failed.and(Err(chain(&error))),
            }
        }
        failed
    }

    async fn read(&self, store: ClaimStore) -> Result<Statuses, String> {
        let (host, cni_dir) = (self.host.clone(), self.cni_dir.clone());
        let read = move || {
            let pods = store.read_all().map_err(|error| chain(&error))?;
            // A file that cannot be read is reported by whoever prepares its claims.
            let pods: Vec<_> = pods.into_iter().filter_map(Result::ok).collect();
            let journal = journal::current(&host, &cni_dir).map_err(|error| error.to_string())?;
            Ok(statuses(&pods, &journal))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|ended| ended.to_string())?
    }
}

impl Applied {
    /// The next status: a condition that did not change keeps its time.
    fn after(before: Option<&Self>, devices: Vec<DeviceStatus>, now: &Time) -> Self {
        let since = devices.iter().map(|device| {
            let old = before.and_then(|before| {
                let mut old = before.devices.iter().zip(&before.since);
                old.find(|(old, _)| old.device == device.device)
            });
            let conditions = device.conditions.iter().enumerate();
            let times = conditions.map(|(position, condition)| {
                let kept = old.and_then(|(old, since)| {
                    let same = old.conditions.get(position)?.is_true == condition.is_true;
                    same.then(|| since.get(position).cloned())?
                });
                kept.unwrap_or_else(|| now.clone())
            });
            times.collect()
        });
        let since = since.collect();
        Self { devices, since }
    }
}

async fn changed(dir: Option<&mut DirEvents>) {
    match dir {
        Some(dir) => dir.changed().await,
        None => std::future::pending().await,
    }
}
