//! Which pod holds which device: what kubelet says, joined with what the CNI plugin's journal says; and where the two disagree.
//!
//! [`keep`] is the task that asks; the rest is data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sriov_device_info::attachments::{self, Attachment};
use sriov_host::{HostRoot, PciAddress, heap, sysfs};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::kept::Keeper;
use crate::kubelet::DirEvents;
use crate::means::{Event, Means};
use crate::plugin::chain;
use crate::podresources;
use crate::pools::Pools;
use crate::unattached;

/// Who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// What kubelet says; nothing until it answered once.
    pub pods: Option<PodDevices>,
    /// Whether its last answer is older than the last question.
    pub is_stale: bool,
    /// What the CNI plugin's journal says.
    pub attachments: BTreeMap<PciAddress, Attachment>,
}

/// What kubelet says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDevices {
    /// Holders by device id: ids are unique over all resources of a node.
    pub holders: BTreeMap<String, Vec<Holder>>,
    /// The ids that can be allocated, by resource.
    pub allocatable: BTreeMap<String, BTreeSet<String>>,
}

/// A container that has a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Resource by which it has it.
    pub resource: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.pod, self.container)
    }
}

/// Where kubelet and the journal disagree, or kubelet with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Attached to a container, and no pod has it.
    Leaked,
    /// Two pods have it.
    HeldTwice,
    /// The CNI plugin keeps it back: it could not be brought to what it was.
    Dirty,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaked => "attached to a container, and no pod has it",
            Self::HeldTwice => "two pods have it",
            Self::Dirty => "the CNI plugin keeps it back: it could not be brought to what it was",
        })
    }
}

impl Owners {
    /// The containers that have a device.
    pub fn holders(&self, id: &str) -> &[Holder] {
        let pods = self.pods.as_ref();
        pods.and_then(|pods| pods.holders.get(id))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether a pod has the device; nobody knows until kubelet answered once.
    pub fn is_held(&self, id: &str) -> Option<bool> {
        self.pods.as_ref().map(|_| !self.holders(id).is_empty())
    }

    /// Whether a pod has a PCI function that the CNI plugin did not attach to a container.
    pub fn is_unattached(&self, address: PciAddress) -> bool {
        !self.attachments.contains_key(&address) && self.is_held(&address.to_string()) == Some(true)
    }

    /// All PCI functions that pods hold.
    pub fn held(&self) -> BTreeSet<PciAddress> {
        let pods = self.pods.iter();
        let ids = pods.flat_map(|pods| pods.holders.keys());
        ids.filter_map(|id| id.parse().ok()).collect()
    }

    /// What is wrong with a device.
    pub fn findings(&self, address: PciAddress) -> Vec<Finding> {
        let id = address.to_string();
        let pods: BTreeSet<_> = self
            .holders(&id)
            .iter()
            .map(|holder| (&holder.namespace, &holder.pod))
            .collect();
        let phase = self.attachments.get(&address).map(|found| found.phase);
        let mut findings = Vec::new();
        if phase == Some(attachments::Phase::Attached) && self.is_held(&id) == Some(false) {
            findings.push(Finding::Leaked);
        }
        if pods.len() > 1 {
            findings.push(Finding::HeldTwice);
        }
        if phase == Some(attachments::Phase::Dirty) {
            findings.push(Finding::Dirty);
        }
        findings
    }
}

/// The attachments of a state directory whose VF is there: after a reboot, and after it was made again, another one has its address.
///
/// The CNI plugin clears the rest away when it is called; until then it tells nothing of a VF that is there.
///
/// # Errors
/// As [`attachments::read`].
pub fn attachments(
    host: &HostRoot,
    cni_dir: &Path,
) -> io::Result<BTreeMap<PciAddress, Attachment>> {
    let boot_id = sysfs::boot_id(host).ok();
    let mut all = attachments::read(cni_dir)?;
    all.retain(|vf, found| {
        boot_id.as_ref().is_none_or(|boot| *boot == found.boot_id)
            && sysfs::incarnation(host, *vf) == Some(found.incarnation)
    });
    Ok(all)
}

/// What the task needs.
#[derive(Debug)]
pub struct Sources {
    /// kubelet's pod resources.
    pub socket: PathBuf,
    /// The CNI plugin's state directory.
    pub cni_dir: PathBuf,
    /// The pools as they are.
    pub pools: watch::Receiver<Arc<Pools>>,
    /// What happens between kubelet and the servers.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// The files of devices.
    pub means: Means,
}

/// After an event kubelet needs a moment until it shows it.
const SETTLE: Duration = Duration::from_millis(200);
/// And sometimes longer: a pod is listed until all of it is gone.
const LATER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// The slow timer: kubelet tells nobody when a pod is gone.
const SLOW: Duration = Duration::from_secs(30);
/// The start does not wait longer for kubelet.
const QUICKLY: Duration = Duration::from_millis(300);

/// Learns who holds what for the first time; a kubelet that does not answer now is asked again later.
pub async fn learn(sources: &Sources, owners: &watch::Sender<Arc<Owners>>) {
    refresh(sources, owners, QUICKLY).await;
}

/// Keeps `owners` and the files of devices true until the servers of the pools are gone.
pub async fn keep(mut sources: Sources, owners: watch::Sender<Arc<Owners>>) {
    let mut journal = DirEvents::of(&sources.cni_dir).ok();
    let mut keeper = Keeper::default();
    let mut patience = unattached::Patience::default();
    let (mut due, mut later) = (Instant::now() + SETTLE, LATER.as_slice());
    loop {
        let is_event = tokio::select! {
            () = tokio::time::sleep_until(due) => false,
            changed = sources.pools.changed() => match changed {
                Ok(()) => true,
                Err(_closed) => return,
            },
            event = sources.events.recv() => match event {
                Some(Event::Allocated(resource, ids)) => {
                    keeper.allocated(&resource, ids, Instant::now());
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
        refresh(&sources, &owners, podresources::DEADLINE).await;
        let pools = sources.pools.borrow_and_update().clone();
        let (now, known) = (Instant::now(), owners.borrow().clone());
        keeper.reconcile(&sources.means, &pools, &known, now);
        let found = unattached::found(&sources.means.host, &pools, &known);
        for line in patience.due(found, now) {
            tracing::warn!("{line}");
        }
        // What a scan, a list or a burst of calls left behind.
        heap::give_back();
        let (next, rest) = later.split_first().unwrap_or((&SLOW, &[]));
        (due, later) = (Instant::now() + *next, rest);
    }
}

async fn changed(journal: Option<&mut DirEvents>) {
    match journal {
        Some(journal) => journal.changed().await,
        None => std::future::pending().await,
    }
}

async fn refresh(sources: &Sources, owners: &watch::Sender<Arc<Owners>>, deadline: Duration) {
    let pods = podresources::ask(&sources.socket, deadline).await;
    let attachments = attachments(&sources.means.host, &sources.cni_dir);
    owners.send_if_modified(|owners| {
        let mut now = Owners::clone(owners);
        match pods {
            Ok(pods) => (now.pods, now.is_stale) = (Some(pods), false),
            Err(error) => {
                if !now.is_stale {
                    tracing::warn!("{}; what was known of pods is kept", chain(&error));
                }
                now.is_stale = true;
            }
        }
        match attachments {
            Ok(attachments) => now.attachments = attachments,
            Err(error) => tracing::warn!(
                "cannot read the CNI plugin's journal `{}`: {error}",
                sources.cni_dir.display()
            ),
        }
        let is_changed = **owners != now;
        *owners = Arc::new(now);
        is_changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pod: &str, container: &str) -> Holder {
        Holder {
            resource: "x.y/vf".into(),
            namespace: "default".into(),
            pod: pod.into(),
            container: container.into(),
        }
    }

    fn attachment(phase: &str) -> Attachment {
        let text = format!(
            r#"{{"phase":"{phase}","boot_id":"b","incarnation":7,"network":"n","container_id":"c","ifname":"net1","netns":{{"path":"/run/netns/p"}},"pf":"0000:01:00.0","vf":0}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn disagreements_are_found_and_a_silent_kubelet_is_none() {
        let address: PciAddress = "0000:01:10.0".parse().unwrap();
        let check = |pods: Option<&[Holder]>, phase: Option<&str>, expected: &[Finding]| {
            let owners = Owners {
                pods: pods.map(|holders| PodDevices {
                    holders: holders
                        .iter()
                        .map(|_| (address.to_string(), holders.to_vec()))
                        .collect(),
                    allocatable: BTreeMap::new(),
                }),
                is_stale: false,
                attachments: phase
                    .map(|phase| (address, attachment(phase)))
                    .into_iter()
                    .collect(),
            };
            assert_eq!(owners.findings(address), expected, "{owners:?}");
            let is_held = pods.is_some_and(|holders| !holders.is_empty());
            assert_eq!(owners.held().contains(&address), is_held, "{owners:?}");
        };
        let (one, two) = (
            [holder("a", "init"), holder("a", "app")],
            [holder("a", "app"), holder("b", "app")],
        );
        check(None, Some("attached"), &[]);
        check(Some(&one), Some("attached"), &[]);
        check(Some(&[]), Some("attached"), &[Finding::Leaked]);
        check(Some(&[]), Some("prepared"), &[]);
        check(Some(&[]), None, &[]);
        check(Some(&two), None, &[Finding::HeldTwice]);
        check(Some(&[]), Some("dirty"), &[Finding::Dirty]);
    }
}
