//! The task that refreshes the owners: queries the kubelet, reads the CNI plugin's journal, and keeps the files of devices up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::grant::files::DeviceFiles;
use crate::grant::upkeep::{FileUpkeep, OwnFiles};
use crate::holders::event::Event;
use crate::holders::unattached::{UnattachedVfs, unattached_vfs};
use crate::holders::{claims, journal, pod_resources};
use crate::watch_dir::DirEvents;
use sriov_config::resource_list::ResourceName;
use sriov_device_info::claims::ClaimStore;
use sriov_host::{HostRoot, PciAddress, chain, heap};
use sriov_inventory::grants::Grants;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Attachment, Holders, Owners};
use sriov_inventory::pool::Pools;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// After an event the kubelet needs a moment until it lists the change.
const SETTLE: Duration = Duration::from_millis(200);
/// And sometimes longer: a pod is listed until all of it is removed.
const LATER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// The slow timer: the kubelet does not notify anybody when a pod is removed.
const SLOW: Duration = Duration::from_secs(30);
/// The start does not wait longer for the kubelet.
const FIRST_DEADLINE: Duration = Duration::from_millis(300);

/// The task, before it runs.
#[derive(Debug)]
pub struct HoldersTask {
    /// The machine.
    pub host: HostRoot,
    /// Socket of the kubelet's pod resources.
    pub socket: PathBuf,
    /// The CNI plugin's state directory.
    pub cni_dir: PathBuf,
    /// The files of granted devices.
    pub files: DeviceFiles,
    /// The pools of the front end.
    pub pools: watch::Receiver<Arc<Pools>>,
    /// Which of the files are the front end's.
    pub own_files: OwnFiles,
    /// Events of the front end.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// The result.
    pub owners: watch::Sender<Arc<Owners>>,
    /// The state that the task keeps from one refresh to the next.
    pub state: HoldersState,
}

/// The state that the task keeps from one refresh to the next.
#[derive(Debug, Default)]
pub struct HoldersState {
    /// Devices that were granted and that the kubelet does not list yet.
    grants: Grants,
    /// Whether devices were granted since the pools were judged.
    is_unjudged: bool,
    /// Why the journal, or the claims, could not be read the last time.
    journal_error: Option<String>,
}

/// What follows the owners, with its state.
#[derive(Clone, Debug)]
struct Follower {
    upkeep: FileUpkeep,
    unattached: UnattachedVfs,
}

impl HoldersTask {
    /// Refreshes the owners for the first time; a kubelet that does not answer in time is queried again by [`Self::run`].
    pub async fn learn(&mut self) {
        self.refresh(FIRST_DEADLINE).await;
    }

    /// Refreshes the owners and keeps the files up until the servers of all pools have ended.
    pub async fn run(mut self) {
        let claims = ClaimStore::below(&self.cni_dir);
        let (mut journal, mut hand_overs) = (None, None);
        let new = Follower {
            upkeep: FileUpkeep::new(self.own_files.clone()),
            unattached: UnattachedVfs::default(),
        };
        let mut follower = new.clone();
        let (mut due, mut later) = (Instant::now() + SETTLE, LATER.as_slice());
        loop {
            journal = watched(journal, &self.cni_dir);
            hand_overs = watched(hand_overs, claims.path());
            let is_event = tokio::select! {
                () = tokio::time::sleep_until(due) => false,
                changed = self.pools.changed() => match changed {
                    Ok(()) => true,
                    Err(_closed) => return,
                },
                event = self.events.recv() => match event {
                    Some(Event::Allocated(resource, ids)) => {
                        self.hold(&resource, &ids);
                        follower.upkeep.granted(&resource, ids, Instant::now().into_std());
                        true
                    }
                    Some(Event::Listed) => true,
                    None => return,
                },
                () = changed(journal.as_mut()) => true,
                () = changed(hand_overs.as_mut()) => true,
            };
            if is_event {
                due = due.min(Instant::now() + SETTLE);
                later = &LATER;
                continue;
            }
            self.refresh(pod_resources::DEADLINE).await;
            follower = self.follow(follower).await.unwrap_or_else(|| new.clone());
            // Memory that a scan, a list or a burst of calls has freed.
            heap::give_back();
            let (next, rest) = later.split_first().unwrap_or((&SLOW, &[]));
            (due, later) = (Instant::now() + *next, rest);
        }
    }

    /// Acts on the refreshed owners, outside the core loop: files of devices, and advice about unattached VFs.
    async fn follow(&mut self, mut follower: Follower) -> Option<Follower> {
        let pools = self.pools.borrow_and_update().clone();
        let owners = self.owners.borrow().clone();
        let (host, files) = (self.host.clone(), self.files.clone());
        let work = tokio::task::spawn_blocking(move || {
            let now = Instant::now().into_std();
            let Follower { upkeep, unattached } = &mut follower;
            upkeep.reconcile(&host, &files, &pools, &owners, now);
            let found = unattached_vfs(&host, &pools, &owners);
            for line in unattached.due(found, now) {
                tracing::warn!("{line}");
            }
            follower
        });
        work.await.ok()
    }

    /// Granted devices are held from now on: another resource must not offer them until the kubelet lists their container.
    ///
    /// The pools are judged again at once only when another pool has such a device now. A device of its own pool stays there,
    /// so a burst of grants is judged once, with the next refresh: judging takes the longer, the more devices there are.
    fn hold(&mut self, resource: &ResourceName, ids: &[DeviceId]) {
        let now = Instant::now().into_std();
        let granted = self.state.grants.add(&resource.to_string(), ids, now);
        let is_urgent = !is_at_home(&self.pools.borrow(), resource, ids);
        self.state.is_unjudged |= !is_urgent;
        self.owners.send_if_modified(|owners| {
            Arc::make_mut(owners).granted.extend(granted);
            is_urgent
        });
    }

    async fn refresh(&mut self, deadline: Duration) {
        let pods = pod_resources::query(&self.socket, deadline).await;
        let (host, cni_dir) = (self.host.clone(), self.cni_dir.clone());
        // sysfs may block: the core loop shares this task's thread.
        let read = tokio::task::spawn_blocking(move || read_all(&host, &cni_dir));
        let read = read.await.unwrap_or_else(|ended| Err(chain(&ended)));
        let read = self.report_read(read);
        self.owners.send_if_modified(|owners| {
            let mut now = Owners::clone(owners);
            if let Err(error) = pods.and_then(|answer| answer.update(&mut now)) {
                if !owners.is_stale {
                    let error = chain(&error);
                    tracing::warn!(%error, "using the previous answer of the kubelet");
                }
                now.is_stale = true;
            }
            if let Some((attachments, claims)) = read {
                (now.attachments, now.claims) = (attachments, claims);
            }
            now.granted = self.state.grants.holders(&now, Instant::now().into_std());
            let is_changed = **owners != now || self.state.is_unjudged;
            *owners = Arc::new(now);
            is_changed
        });
        self.state.is_unjudged = false;
    }
}

/// Whether the pool of a resource has all these devices now.
fn is_at_home(pools: &Pools, resource: &ResourceName, ids: &[DeviceId]) -> bool {
    let mut pools = pools.pools.iter();
    let pool = pools.find(|pool| pool.name == *resource);
    pool.is_some_and(|pool| ids.iter().all(|id| pool.device(id).is_some()))
}

impl HoldersTask {
    /// Logs why the journal or the claims cannot be read, once for each reason, and that they can be read again.
    fn report_read<T>(&mut self, read: Result<T, String>) -> Option<T> {
        let error = read.as_ref().err().cloned();
        if self.state.journal_error != error {
            let dir = self.cni_dir.display();
            if let Some(error) = &error {
                tracing::warn!(%dir, %error, "cannot read the CNI plugin's journal");
            } else {
                tracing::info!(%dir, "the CNI plugin's journal can be read again");
            }
            self.state.journal_error = error;
        }
        read.ok()
    }
}

/// The watch of the journal, begun again when the directory was removed, and when it is made later: the CNI plugin makes it with its first attachment.
fn watched(journal: Option<DirEvents>, dir: &Path) -> Option<DirEvents> {
    let live = journal.filter(|journal| !journal.has_ended());
    live.or_else(|| DirEvents::of(dir).ok())
}

/// Waits for a change of the journal; forever when its directory cannot be watched.
async fn changed(journal: Option<&mut DirEvents>) {
    match journal {
        Some(journal) => journal.changed().await,
        None => std::future::pending().await,
    }
}

/// The attachments of the journal, and the devices of prepared claims.
fn read_all(
    host: &HostRoot,
    cni_dir: &Path,
) -> Result<(BTreeMap<PciAddress, Attachment>, Holders), String> {
    let attachments = journal::attachments(host, cni_dir).map_err(|error| error.to_string())?;
    let claims = claims::claims(&ClaimStore::below(cni_dir)).map_err(|error| chain(&error))?;
    Ok((attachments, claims))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sriov_config::resource_list::{PfHealth, Publish};
    use sriov_device_info::Store;
    use sriov_inventory::pool::{Pool, PoolDevice};

    use super::*;
    use crate::daemon::channels::Channels;

    fn id(vf: u8) -> DeviceId {
        format!("0000:01:10.{vf}").parse().unwrap()
    }

    /// A task that has one pool, `x.y/vf` with four VFs; no device is held.
    fn task(dir: &Path) -> (HoldersTask, watch::Receiver<Arc<Owners>>) {
        let channels = Channels::default();
        let pool = Pool {
            name: ResourceName::new("x.y", "vf").unwrap(),
            pf_health: PfHealth::default(),
            publish: Publish::default(),
            additional_info: Arc::default(),
            devices: Arc::new((0..4).map(|vf| PoolDevice::example(id(vf))).collect()),
            unhealthy: BTreeMap::new(),
        };
        let pools = Pools {
            pools: vec![pool],
            ..Pools::default()
        };
        channels.send_pools.send_replace(Arc::new(pools));
        let task = HoldersTask {
            host: HostRoot::new(dir),
            socket: dir.join("absent.sock"),
            cni_dir: dir.join("cni"),
            files: DeviceFiles {
                store: Store::new(dir),
                cdi: None,
            },
            pools: channels.pools,
            own_files: OwnFiles {
                is_own: |_| true,
                claims: None,
            },
            events: channels.events,
            owners: channels.send_owners,
            state: HoldersState::default(),
        };
        (task, channels.owners)
    }

    /// Whether the pools are judged again now.
    fn is_judged(owners: &mut watch::Receiver<Arc<Owners>>) -> bool {
        let is_changed = owners.has_changed().unwrap();
        owners.mark_unchanged();
        is_changed
    }

    #[tokio::test]
    async fn a_burst_of_grants_is_judged_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut task, mut owners) = task(dir.path());
        task.refresh(FIRST_DEADLINE).await;
        is_judged(&mut owners);
        let resource = ResourceName::new("x.y", "vf").unwrap();
        for vf in [0, 1, 2, 3, 0] {
            task.hold(&resource, &[id(vf)]);
            assert!(!is_judged(&mut owners), "{vf}");
            assert_eq!(owners.borrow().is_held(&id(vf)), Some(true), "{vf}");
        }
        task.refresh(FIRST_DEADLINE).await;
        assert!(is_judged(&mut owners));
        assert_eq!(owners.borrow().held().len(), 4);
        task.refresh(FIRST_DEADLINE).await;
        assert!(!is_judged(&mut owners));
    }

    #[tokio::test]
    async fn a_grant_of_a_device_that_left_its_pool_is_judged_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut task, mut owners) = task(dir.path());
        for (resource, ids, expected) in [
            ("vf", &[id(1), id(2)][..], false),
            ("vf", &[id(1), id(7)], true),
            ("removed", &[id(1)], true),
        ] {
            let resource = ResourceName::new("x.y", resource).unwrap();
            task.hold(&resource, ids);
            assert_eq!(is_judged(&mut owners), expected, "{resource} {ids:?}");
        }
    }
}
