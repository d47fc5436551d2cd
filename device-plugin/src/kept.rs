//! The files of devices follow ownership: what a running pod needs is rebuilt when it is missing, what nobody holds is removed.
//!
//! [`Keeper::plan`] decides, from data; [`Keeper::reconcile`] looks at the directories and executes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_config::resources::ResourceName;
use sriov_device_info::{Store, atomic};
use tokio::time::Instant;

use crate::allocate;
use crate::cdi::CdiDir;
use crate::means::{FilesError, Means};
use crate::observe::{ObserveError, observe};
use crate::ownership::Owners;
use crate::plugin::chain;
use crate::pools::{DeviceId, Pool, PoolDevice, Pools};

/// An allocation that no pod shows after this time never became one.
const NEVER_SEEN: Duration = Duration::from_mins(5);
/// A kubelet that has just started does not show all pods at once.
const UNHELD: Duration = Duration::from_secs(10);

/// A device by resource and id.
pub type Key = (ResourceName, String);

/// Files by device.
pub type Files = BTreeMap<Key, PathBuf>;

/// What is remembered from one round to the next.
#[derive(Clone, Debug, Default)]
pub struct Keeper {
    /// All resources that this process has served: of others no file is touched.
    known: BTreeSet<ResourceName>,
    /// Devices that were allocated and that no pod shows yet.
    fresh: BTreeMap<Key, Instant>,
    /// Files of devices that no pod shows, since when.
    unheld: BTreeMap<PathBuf, Instant>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Devices whose file is missing.
    pub rebuild: BTreeSet<Key>,
    /// Files that nobody needs.
    pub remove: Vec<PathBuf>,
}

/// A file could not be rebuilt.
#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Write(#[from] FilesError),
}

impl Keeper {
    /// Devices were allocated.
    pub fn allocated(&mut self, resource: &ResourceName, ids: Vec<String>, now: Instant) {
        let keys = ids.into_iter().map(|id| ((resource.clone(), id), now));
        self.fresh.extend(keys);
    }

    /// Decides on the files of one kind; before kubelet answered nothing is done, and a stale answer removes nothing.
    pub fn plan(&mut self, pools: &Pools, owners: &Owners, files: &Files, now: Instant) -> Plan {
        let mut plan = Plan::default();
        if owners.pods.is_none() {
            return plan;
        }
        self.fresh.retain(|(_, id), since| {
            owners.is_held(id) != Some(true) && now.duration_since(*since) < NEVER_SEEN
        });
        for key in pools.pools.iter().flat_map(keys) {
            let resource = key.0.to_string();
            let mut holders = owners.holders(&key.1).iter();
            if holders.any(|holder| holder.resource == resource) && !files.contains_key(&key) {
                plan.rebuild.insert(key);
            }
        }
        for (key, path) in files {
            let is_needed = owners.is_stale
                || owners.is_held(&key.1) != Some(false)
                || self.fresh.contains_key(key);
            if is_needed {
                self.unheld.remove(path);
            } else {
                let since = *self.unheld.entry(path.clone()).or_insert(now);
                if now.duration_since(since) >= UNHELD {
                    self.unheld.remove(path);
                    plan.remove.push(path.clone());
                }
            }
        }
        plan
    }

    /// Makes the files of devices what they should be.
    pub fn reconcile(&mut self, means: &Means, pools: &Pools, owners: &Owners, now: Instant) {
        let served = pools.pools.iter().map(|pool| pool.resource.name.clone());
        self.known.extend(served);
        let infos = self.files(means.store.path(), Store::id_in);
        let infos = self.plan(pools, owners, &infos, now);
        let cdi = means.cdi.as_ref().map(|cdi| {
            let files = self.files(cdi.path(), CdiDir::id_in);
            self.plan(pools, owners, &files, now)
        });
        let cdi = cdi.unwrap_or_default();
        for path in infos.remove.iter().chain(&cdi.remove) {
            match atomic::remove(path) {
                Ok(()) => tracing::info!("removed `{}`: no pod holds the device", path.display()),
                Err(error) => tracing::warn!("cannot remove `{}`: {error}", path.display()),
            }
        }
        for pool in &pools.pools {
            for (device, key) in pool.devices.iter().zip(keys(pool)) {
                // A subfunction has no device information.
                let info = device.id.address().is_some() && infos.rebuild.contains(&key);
                let cdi = cdi.rebuild.contains(&key);
                if (info || cdi)
                    && let Err(error) = rebuild(means, pool, device, info, cdi)
                {
                    tracing::debug!("{} {}: {}", key.0, key.1, chain(&error));
                }
            }
        }
    }

    /// The files of our resources in a directory; one that is missing has none.
    fn files(&self, dir: &Path, id_in: fn(&str, &ResourceName) -> Option<String>) -> Files {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files = Files::new();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let key = self.known.iter().find_map(|resource| {
                let id = id_in(&name, resource)?;
                // The rest of a longer resource name is no id.
                id.parse::<DeviceId>().ok()?;
                Some((resource.clone(), id))
            });
            files.extend(key.map(|key| (key, path.clone())));
        }
        files
    }
}

fn keys(pool: &Pool) -> impl Iterator<Item = Key> {
    let name = &pool.resource.name;
    let device = |device: &PoolDevice| (name.clone(), device.id.to_string());
    pool.devices.iter().map(device)
}

fn rebuild(
    means: &Means,
    pool: &Pool,
    device: &PoolDevice,
    info: bool,
    cdi: bool,
) -> Result<(), RebuildError> {
    let name = &pool.resource.name;
    let allocated = observe(&means.host, device)?;
    let content = allocate::device_info(&allocated).map_err(ObserveError::from)?;
    if let (true, Some(info)) = (info, content) {
        means.write_info(name, &allocated.id(), &info)?;
        tracing::info!(
            "{name}: the device information of {} is there again",
            allocated.id()
        );
    }
    if cdi {
        let share = allocate::share(&pool.resource, &allocated).map_err(ObserveError::from)?;
        means.write_cdi(name, &allocated.id(), &share.nodes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
