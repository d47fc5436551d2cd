//! Who holds which device: the kubelet's pods and the prepared claims, compared with the CNI plugin's journal.
//!
//! Each source is kept apart, as one may be silent while another answers; [`Owners::holders`] is where they are merged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sriov_host::PciAddress;

use crate::id::DeviceId;

/// The holders of one source, by device.
pub type Holders = BTreeMap<DeviceId, Vec<Holder>>;

/// The ids that the kubelet can allocate, by resource.
pub type Allocatable = BTreeMap<String, BTreeSet<String>>;

/// Who holds which device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// The kubelet's answer; absent until it answered once.
    pub pods: Option<PodDevices>,
    /// Whether the kubelet did not answer the newest query, so that `pods` is an older answer.
    pub is_stale: bool,
    /// Prepared claims.
    pub claims: Holders,
    /// Devices that a front end granted, and that the kubelet does not list yet.
    pub granted: Holders,
    /// The CNI plugin's journal.
    pub attachments: BTreeMap<PciAddress, Attachment>,
}

/// The kubelet's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDevices {
    /// Containers, and claims of any driver, that hold a device.
    pub holders: Holders,
    /// The ids that the kubelet can allocate, by resource; absent when it did not answer that query.
    pub allocatable: Option<Allocatable>,
}

/// Whoever holds a device. It is small: there is one for each held device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A container, through the device plugin API.
    Pod(Box<PodHolder>),
    /// A claim, through dynamic resource allocation.
    Claim(Box<ClaimHolder>),
    /// The container for which the kubelet allocated the device through this resource a moment ago; it does not list the container yet.
    Granted(Arc<str>),
}

/// A container that holds a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodHolder {
    /// Resource through which it holds the device.
    pub resource: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

/// A claim that holds a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimHolder {
    /// Resource whose pool the device was in when the claim was prepared.
    pub resource: String,
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub name: String,
    /// UID of the claim, as a name may be used again; empty in the answer of the kubelet, which has none.
    pub uid: String,
}

impl Holder {
    /// The resource through which the device is held.
    pub fn resource(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.resource,
            Self::Claim(claim) => &claim.resource,
            Self::Granted(resource) => resource,
        }
    }

    /// Whether the kubelet or the owner of a claim lists it, unlike a grant of this process.
    pub fn is_listed(&self) -> bool {
        match self {
            Self::Pod(_) | Self::Claim(_) => true,
            Self::Granted(_) => false,
        }
    }

    /// The container, when a pod holds the device.
    pub fn pod(&self) -> Option<&PodHolder> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Claim(_) | Self::Granted(_) => None,
        }
    }

    /// Whether both may be containers of one pod, or the same claim.
    fn is_same_owner(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pod(a), Self::Pod(b)) => (&a.namespace, &a.pod) == (&b.namespace, &b.pod),
            (Self::Claim(a), Self::Claim(b)) if a.uid.is_empty() || b.uid.is_empty() => {
                (&a.namespace, &a.name) == (&b.namespace, &b.name)
            }
            (Self::Claim(a), Self::Claim(b)) => a.uid == b.uid,
            (Self::Granted(granted), other) | (other, Self::Granted(granted)) => {
                other.resource() == &**granted
            }
            (Self::Pod(_), Self::Claim(_)) | (Self::Claim(_), Self::Pod(_)) => false,
        }
    }
}

impl From<PodHolder> for Holder {
    fn from(pod: PodHolder) -> Self {
        Self::Pod(Box::new(pod))
    }
}

impl From<ClaimHolder> for Holder {
    fn from(claim: ClaimHolder) -> Self {
        Self::Claim(Box::new(claim))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(holder) => {
                let (namespace, pod) = (&holder.namespace, &holder.pod);
                write!(f, "{namespace}/{pod}/{}", holder.container)
            }
            Self::Claim(claim) => write!(f, "claim {}/{}", claim.namespace, claim.name),
            Self::Granted(resource) => write!(f, "a new container with `{resource}`"),
        }
    }
}

/// State of a VF in the CNI plugin's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A container has it.
    Attached,
    /// The CNI plugin could not restore it, and holds it back.
    Dirty,
    /// An ADD or a DEL has not finished.
    Unfinished,
}

/// Where the sources disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// Attached to a container, and no pod has it.
    Leaked,
    /// Two pods or claims have it.
    HeldTwice,
    /// The CNI plugin holds it back: it could not be restored.
    Dirty,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaked => "attached to a container, and no pod has it",
            Self::HeldTwice => "two pods have it",
            Self::Dirty => "the CNI plugin holds it back: its former state could not be restored",
        })
    }
}

impl Owners {
    /// All holders of a device, from all sources.
    pub fn holders(&self, id: &DeviceId) -> impl Iterator<Item = &Holder> + Clone {
        let sources = self.sources().filter_map(move |source| source.get(id));
        sources.flatten()
    }

    /// All devices that are held.
    pub fn held(&self) -> BTreeSet<&DeviceId> {
        self.sources().flat_map(BTreeMap::keys).collect()
    }

    /// Whether a device is held; absent while no source lists it and the kubelet has not answered yet.
    pub fn is_held(&self, id: &DeviceId) -> Option<bool> {
        if self.holders(id).next().is_some() {
            return Some(true);
        }
        self.pods.as_ref().map(|_| false)
    }

    /// Whether a PCI function is held that the CNI plugin did not attach to a container.
    pub fn is_unattached(&self, address: PciAddress) -> bool {
        !self.attachments.contains_key(&address)
            && self.is_held(&DeviceId::Function(address)) == Some(true)
    }

    /// Lists the disagreements about a device.
    pub fn findings(&self, address: PciAddress) -> Vec<Finding> {
        let id = DeviceId::Function(address);
        let attachment = self.attachments.get(&address);
        let mut findings = Vec::new();
        if attachment == Some(&Attachment::Attached) && self.is_held(&id) == Some(false) {
            findings.push(Finding::Leaked);
        }
        let mut holders = self.holders(&id);
        let first = holders.next();
        if first.is_some_and(|first| holders.any(|other| !other.is_same_owner(first))) {
            findings.push(Finding::HeldTwice);
        }
        if attachment == Some(&Attachment::Dirty) {
            findings.push(Finding::Dirty);
        }
        findings
    }

    fn sources(&self) -> impl Iterator<Item = &Holders> + Clone {
        let pods = self.pods.iter().map(|pods| &pods.holders);
        pods.chain([&self.claims, &self.granted])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(pod: &str, container: &str) -> Holder {
        Holder::from(PodHolder {
            resource: "x.y/vf".into(),
            namespace: "default".into(),
            pod: pod.into(),
            container: container.into(),
        })
    }

    fn claim(uid: &str) -> Holder {
        Holder::from(ClaimHolder {
            resource: "x.y/vf".into(),
            namespace: "default".into(),
            name: "c".into(),
            uid: uid.into(),
        })
    }

    fn check(
        pods: Option<&[Holder]>,
        claims: &[Holder],
        attachment: Option<Attachment>,
        expected: &[Finding],
    ) {
        let address: PciAddress = "0000:01:10.0".parse().unwrap();
        let id = DeviceId::Function(address);
        let holders = |holders: &[Holder]| -> Holders {
            let holders = (!holders.is_empty()).then(|| (id.clone(), holders.to_vec()));
            holders.into_iter().collect()
        };
        let owners = Owners {
            pods: pods.map(|pods| PodDevices {
                holders: holders(pods),
                allocatable: None,
            }),
            is_stale: false,
            claims: holders(claims),
            granted: Holders::new(),
            attachments: attachment
                .map(|state| (address, state))
                .into_iter()
                .collect(),
        };
        assert_eq!(owners.findings(address), expected, "{owners:?}");
        let is_held = pods.is_some_and(|pods| !pods.is_empty()) || !claims.is_empty();
        assert_eq!(owners.held().contains(&id), is_held, "{owners:?}");
        let expected = is_held.then_some(true).or(pods.map(|_| false));
        assert_eq!(owners.is_held(&id), expected, "{owners:?}");
    }

    #[test]
    fn sources_that_disagree_are_found_and_silence_is_not() {
        let (attached, dirty) = (Some(Attachment::Attached), Some(Attachment::Dirty));
        let one = [pod("a", "init"), pod("a", "app")];
        let two = [pod("a", "app"), pod("b", "app")];
        check(None, &[], attached, &[]);
        check(Some(&one), &[], attached, &[]);
        check(Some(&[]), &[], attached, &[Finding::Leaked]);
        check(Some(&[]), &[], Some(Attachment::Unfinished), &[]);
        check(Some(&[]), &[], None, &[]);
        check(Some(&two), &[], None, &[Finding::HeldTwice]);
        check(Some(&[]), &[], dirty, &[Finding::Dirty]);
    }

    #[test]
    fn a_granted_device_is_held_before_the_kubelet_lists_it() {
        let address: PciAddress = "0000:01:10.0".parse().unwrap();
        let id = DeviceId::Function(address);
        let grant = |resource: &str| vec![Holder::Granted(resource.into())];
        let mut owners = Owners {
            granted: [(id.clone(), grant("x.y/vf"))].into(),
            ..Owners::default()
        };
        assert_eq!(owners.is_held(&id), Some(true));
        let pods = owners.pods.get_or_insert_default();
        pods.holders.insert(id.clone(), vec![pod("a", "app")]);
        assert_eq!(owners.findings(address), []);
        // Another resource has given the device to somebody else.
        owners.granted.insert(id, grant("x.y/other"));
        assert_eq!(owners.findings(address), [Finding::HeldTwice]);
    }

    #[test]
    fn claims_and_pods_are_merged() {
        let attached = Some(Attachment::Attached);
        check(Some(&[]), &[claim("1")], attached, &[]);
        check(None, &[claim("1")], attached, &[]);
        check(None, &[claim("1"), claim("1")], None, &[]);
        check(Some(&[claim("")]), &[claim("1")], attached, &[]);
        check(None, &[claim("1"), claim("2")], None, &[Finding::HeldTwice]);
        let pod = [pod("a", "app")];
        check(Some(&pod), &[claim("1")], None, &[Finding::HeldTwice]);
    }
}
