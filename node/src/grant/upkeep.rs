//! Upkeep of the files of devices: rebuilds those that a running pod needs and that are missing, removes those of devices that nobody holds.
//!
//! A front end touches only files of the resources that it serves, and rebuilds only what its own kind of holder needs.
//! [`FileUpkeep::plan`] decides; [`FileUpkeep::reconcile`] reads the directories and executes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sriov_config::resource_list::ResourceName;
use sriov_device_info::claims::{ClaimStore, ClaimsError};
use sriov_device_info::{Store, atomic};
use sriov_host::HostRoot;
use sriov_host::chain;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Holder, Owners};
use sriov_inventory::pool::{Pool, PoolDevice, Pools};

use super::cdi::CdiDir;
use super::files::{DeviceFiles, FilesError};
use super::recheck::{RecheckError, recheck};
use super::share::{self, NotUsable};
use crate::file_lock::FileLock;
use crate::holders::claims;

/// A grant that no source lists after this time never became an allocation.
const NEVER_SEEN: Duration = Duration::from_mins(5);
/// A kubelet that has just started does not list all pods at once.
const UNHELD: Duration = Duration::from_secs(10);

/// A device by resource and id.
pub type Key = (ResourceName, DeviceId);

/// Files by device.
pub type Files = BTreeMap<Key, PathBuf>;

/// The upkeep of one front end's files, with its state from one round to the next.
#[derive(Clone, Debug)]
pub struct FileUpkeep {
    front_end: OwnFiles,
    /// All resources that this process has served; files of others are never touched.
    served: BTreeSet<ResourceName>,
    /// Granted devices that no source lists as held yet.
    fresh: BTreeMap<Key, Instant>,
    /// Files of devices that nobody holds, since when.
    unheld: BTreeMap<PathBuf, Instant>,
    /// Why the last round did nothing; the log has each reason once.
    trouble: Option<String>,
}

/// The front end whose files are kept up.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    /// Whether a holder got its device from this front end.
    pub is_own: fn(&Holder) -> bool,
    /// How the front end changes files of claims; absent for one that reports each grant before it writes files.
    pub claims: Option<ClaimLock>,
}

/// The lock under which a front end changes the files of claims.
///
/// The owners are older than the round that acts on them: without the lock, a round rebuilds the file that an Unprepare has just removed.
#[derive(Clone, Debug)]
pub struct ClaimLock {
    /// The file of the lock.
    pub path: PathBuf,
    /// The claims that hold devices; the front end changes them under the lock.
    pub claims: ClaimStore,
}

/// Another round will keep the files up.
#[derive(Debug, thiserror::Error)]
enum NoTurn {
    #[error("the front end has the lock `{}`", .0.display())]
    Busy(PathBuf),
    #[error("cannot take the lock `{}`", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

/// The files to rebuild and to remove.
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
    Recheck(#[from] RecheckError),
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    #[error(transparent)]
    Write(#[from] FilesError),
}

impl FileUpkeep {
    /// The upkeep of a front end's files.
    pub fn new(front_end: OwnFiles) -> Self {
        Self {
            front_end,
            served: BTreeSet::new(),
            fresh: BTreeMap::new(),
            unheld: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Devices were granted.
    pub fn granted(&mut self, resource: &ResourceName, ids: Vec<DeviceId>, now: Instant) {
        let keys = ids.into_iter().map(|id| ((resource.clone(), id), now));
        self.fresh.extend(keys);
    }

    /// Decides on the files of one kind: nothing before the kubelet answered once, and no removal by an outdated answer.
    pub fn plan(&mut self, pools: &Pools, owners: &Owners, files: &Files, now: Instant) -> Plan {
        let mut plan = Plan::default();
        if owners.pods.is_none() {
            return plan;
        }
        self.fresh.retain(|(_, id), since| {
            // The grant itself is an owner for a short time.
            let is_listed = owners.holders(id).any(Holder::is_listed);
            !is_listed && now.duration_since(*since) < NEVER_SEEN
        });
        for key in pools.pools.iter().flat_map(keys) {
            let resource = key.0.to_string();
            let own = owners
                .holders(&key.1)
                .filter(|holder| (self.front_end.is_own)(holder));
            let mut resources = own.map(Holder::resource);
            if resources.any(|held_as| held_as == resource) && !files.contains_key(&key) {
                plan.rebuild.insert(key.clone());
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

    /// Rebuilds and removes files until they match who holds the devices of the served pools; nothing while the front end changes files of claims.
    pub fn reconcile(
        &mut self,
        host: &HostRoot,
        files: &DeviceFiles,
        served: &Pools,
        owners: &Owners,
        now: Instant,
    ) {
        let names = served.pools.iter().map(|pool| pool.name.clone());
        self.served.extend(names);
        let (_lock, owners) = match self.turn(owners) {
            Ok(turn) => turn,
            Err(error @ NoTurn::Busy(_)) => {
                tracing::debug!(%error, "the files of devices are kept up later");
                return;
            }
            Err(error) => {
                let error = Some(chain(&error));
                if self.trouble != error {
                    tracing::warn!(error, "the files of devices are not kept up");
                    self.trouble = error;
                }
                return;
            }
        };
        self.trouble = None;
        let owners = owners.as_ref();
        let infos = self.files(files.store.path(), Store::id_in);
        let infos = self.plan(served, owners, &infos, now);
        let specifications = files.cdi.as_ref().map(|cdi| {
            let files = self.files(cdi.path(), CdiDir::id_in);
            self.plan(served, owners, &files, now)
        });
        let specifications = specifications.unwrap_or_default();
        for path in infos.remove.iter().chain(&specifications.remove) {
            remove(path);
        }
        for pool in &served.pools {
            for (device, key) in pool.devices.iter().zip(keys(pool)) {
                let missing = Missing {
                    // The device information specification has no subfunctions.
                    info: device.id.address().is_some() && infos.rebuild.contains(&key),
                    cdi: specifications.rebuild.contains(&key),
                };
                if let Err(error) = rebuild(host, files, pool, device, missing) {
                    let ((pool, device), error) = (&key, chain(&error));
                    tracing::debug!(%pool, %device, %error, "cannot rebuild the files of the device");
                }
            }
        }
    }

    /// The lock of the front end, if it has one, and the owners with the claims as they are under it.
    fn turn<'a>(&self, owners: &'a Owners) -> Result<(Option<FileLock>, Cow<'a, Owners>), NoTurn> {
        let Some(ClaimLock { path, claims }) = &self.front_end.claims else {
            return Ok((None, Cow::Borrowed(owners)));
        };
        let lock = FileLock::try_take(path).map_err(|source| NoTurn::Lock {
            path: path.clone(),
            source,
        })?;
        let lock = lock.ok_or_else(|| NoTurn::Busy(path.clone()))?;
        let mut now = owners.clone();
        now.claims = claims::claims(claims)?;
        Ok((Some(lock), Cow::Owned(now)))
    }

    /// The files of served resources in a directory, which may be missing.
    fn files(&self, dir: &Path, id_in: fn(&str, &ResourceName) -> Option<String>) -> Files {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut files = Files::new();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let key = self.served.iter().find_map(|resource| {
                // The rest of a longer resource name is not an id.
                let id = id_in(&name, resource)?.parse().ok()?;
                Some((resource.clone(), id))
            });
            files.extend(key.map(|key| (key, path.clone())));
        }
        files
    }
}

fn keys(pool: &Pool) -> impl Iterator<Item = Key> {
    let devices = pool.devices.iter();
    devices.map(|device| (pool.name.clone(), device.id.clone()))
}

fn remove(path: &Path) {
    match atomic::remove(path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "removed the file of a device that no pod holds");
        }
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot remove the file"),
    }
}

/// Which files of a device are missing.
#[derive(Clone, Copy)]
struct Missing {
    info: bool,
    cdi: bool,
}

fn rebuild(
    host: &HostRoot,
    files: &DeviceFiles,
    pool: &Pool,
    device: &PoolDevice,
    missing: Missing,
) -> Result<(), RebuildError> {
    let Missing { info, cdi } = missing;
    if !info && !cdi {
        return Ok(());
    }
    let (name, id) = (&pool.name, &device.id);
    let allocated = recheck(host, device)?;
    let content = share::device_info(&allocated)?;
    if let (true, Some(content)) = (info, content) {
        files.write_info(name, id, &content)?;
        tracing::info!(pool = %name, device = %id, "rebuilt the missing device information");
    }
    if cdi {
        let share = share::share(pool, &allocated)?;
        files.write_cdi(name, id, &share.nodes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
