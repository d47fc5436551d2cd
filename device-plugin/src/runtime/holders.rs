//! The task that refreshes the owners: queries the kubelet, reads the CNI plugin's journal, and keeps the files of devices up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sriov_host::{HostRoot, chain, heap};
use sriov_inventory::grants::Grants;
use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::grant::files::DeviceFiles;
use sriov_node::grant::upkeep::FileUpkeep;
use sriov_node::holders::event::Event;
use sriov_node::holders::unattached::{UnattachedVfs, unattached_vfs};
use sriov_node::holders::{journal, pod_resources};
use sriov_node::watch_dir::DirEvents;
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
pub(super) struct HoldersTask {
    pub(super) host: HostRoot,
    /// Socket of the kubelet's pod resources.
    pub(super) socket: PathBuf,
    /// The CNI plugin's state directory.
    pub(super) cni_dir: PathBuf,
    /// The files of granted devices.
    pub(super) files: DeviceFiles,
    pub(super) pools: watch::Receiver<Arc<Pools>>,
    /// Events of the front end.
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Devices that were granted and that the kubelet does not list yet.
    pub(super) grants: Grants,
    /// Why the journal could not be read the last time.
    pub(super) journal_error: Option<String>,
    /// The result.
    pub(super) owners: watch::Sender<Arc<Owners>>,
}

/// What follows the owners, with its state.
#[derive(Debug)]
struct Follower {
    upkeep: FileUpkeep,
    unattached: UnattachedVfs,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            upkeep: FileUpkeep::new(|holder| holder.pod().is_some()),
            unattached: UnattachedVfs::default(),
        }
    }
}

impl HoldersTask {
    /// Refreshes the owners for the first time; a kubelet that does not answer in time is queried again by [`Self::run`].
    pub(super) async fn learn(&mut self) {
        self.refresh(FIRST_DEADLINE).await;
    }

    /// Refreshes the owners and keeps the files up until the servers of all pools have ended.
    pub(super) async fn run(mut self) {
        let mut journal = None;
        let mut follower = Follower::default();
        let (mut due, mut later) = (Instant::now() + SETTLE, LATER.as_slice());
        loop {
            journal = watched(journal, &self.cni_dir);
            let is_event = tokio::select! {
                () = tokio::time::sleep_until(due) => false,
                changed = self.pools.changed() => match changed {
                    Ok(()) => true,
                    Err(_closed) => return,
                },
                event = self.events.recv() => match event {
                    Some(Event::Allocated(resource, ids)) => {
                        self.hold(&resource.to_string(), &ids);
                        follower.upkeep.granted(&resource, ids, Instant::now().into_std());
                        true
                    }
                    Some(Event::Listed) => true,
                    None => return,
                },
                () = changed(journal.as_mut()) => true,
            };
            if is_event {
                due = due.min(Instant::now() + SETTLE);
                later = &LATER;
                continue;
            }
            self.refresh(pod_resources::DEADLINE).await;
            follower = self.follow(follower).await;
            // Memory that a scan, a list or a burst of calls has freed.
            heap::give_back();
            let (next, rest) = later.split_first().unwrap_or((&SLOW, &[]));
            (due, later) = (Instant::now() + *next, rest);
        }
    }

    /// Acts on the refreshed owners, outside the core loop: files of devices, and advice about unattached VFs.
    async fn follow(&mut self, mut follower: Follower) -> Follower {
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
        work.await.unwrap_or_default()
    }

    /// Granted devices are held from now on: another resource must not offer them until the kubelet lists their container.
    fn hold(&mut self, resource: &str, ids: &[DeviceId]) {
        let now = Instant::now().into_std();
        self.grants.add(resource, ids, now);
        self.owners.send_modify(|owners| {
            let granted = self.grants.holders(owners, now);
            Arc::make_mut(owners).granted = granted;
        });
    }

    async fn refresh(&mut self, deadline: Duration) {
        let pods = pod_resources::query(&self.socket, deadline).await;
        let (host, cni_dir) = (self.host.clone(), self.cni_dir.clone());
        // sysfs may block: the core loop shares this task's thread.
        let read = tokio::task::spawn_blocking(move || journal::attachments(&host, &cni_dir));
        let attachments = read
            .await
            .unwrap_or_else(|ended| Err(io::Error::other(ended)));
        let attachments = self.report_journal(attachments);
        self.owners.send_if_modified(|owners| {
            let mut now = Owners::clone(owners);
            if let Err(error) = pods.and_then(|answer| answer.update(&mut now)) {
                if !owners.is_stale {
                    let error = chain(&error);
                    tracing::warn!(%error, "using the previous answer of the kubelet");
                }
                now.is_stale = true;
            }
            if let Some(attachments) = attachments {
                now.attachments = attachments;
            }
            now.granted = self.grants.holders(&now, Instant::now().into_std());
            let is_changed = **owners != now;
            *owners = Arc::new(now);
            is_changed
        });
    }
}

impl HoldersTask {
    /// Logs why the journal cannot be read, once for each reason, and that it can be read again.
    fn report_journal<T>(&mut self, read: io::Result<T>) -> Option<T> {
        let error = read.as_ref().err().map(ToString::to_string);
        if self.journal_error != error {
            let dir = self.cni_dir.display();
            if let Some(error) = &error {
                tracing::warn!(%dir, %error, "cannot read the CNI plugin's journal");
            } else {
                tracing::info!(%dir, "the CNI plugin's journal can be read again");
            }
            self.journal_error = error;
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
