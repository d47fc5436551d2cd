//! Devices that this process granted a moment ago: they count as held before the kubelet lists their container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::DeviceId;
use crate::owners::{Holder, Holders, Owners};

/// A kubelet that answers lists an allocation within a second. After this time there is none: the pod was not admitted.
const UNLISTED: Duration = Duration::from_secs(10);
/// Without an answer of the kubelet, a grant counts for longer.
const UNANSWERED: Duration = Duration::from_mins(5);

/// The newest grants: resource and time of each.
#[derive(Clone, Debug, Default)]
pub struct Grants(BTreeMap<DeviceId, (Arc<str>, Instant)>);

impl Grants {
    /// Devices of a resource were granted; returns their new holder.
    pub fn add(&mut self, resource: &str, ids: &[DeviceId], now: Instant) -> Holders {
        let resource: Arc<str> = resource.into();
        let grants = ids.iter();
        let grants = grants.map(|id| (id.clone(), (Arc::clone(&resource), now)));
        self.0.extend(grants);
        let holder = || vec![Holder::Granted(Arc::clone(&resource))];
        ids.iter().map(|id| (id.clone(), holder())).collect()
    }

    /// Forgets grants that the kubelet lists, or that are too old; returns the others.
    pub fn holders(&mut self, owners: &Owners, now: Instant) -> Holders {
        let is_answered = owners.pods.is_some() && !owners.is_stale;
        let patience = if is_answered { UNLISTED } else { UNANSWERED };
        let is_listed = |id: &DeviceId, resource: &str| {
            let holders = owners.pods.as_ref().and_then(|pods| pods.holders.get(id));
            let mut holders = holders.into_iter().flatten();
            holders.any(|holder| holder.resource() == resource)
        };
        self.0.retain(|id, (resource, since)| {
            now.saturating_duration_since(*since) < patience && !is_listed(id, resource)
        });
        let held = self.0.iter().map(|(id, (resource, _))| {
            let holder = Holder::Granted(Arc::clone(resource));
            (id.clone(), vec![holder])
        });
        held.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::PodHolder;

    const ID: &str = "0000:01:10.0";

    /// The resources through which the kubelet lists the device as held; absent when it does not answer.
    fn owners(listed: Option<&[&str]>) -> Owners {
        let mut owners = Owners::default();
        if let Some(resources) = listed {
            let pods = owners.pods.get_or_insert_default();
            let holder = resources.iter().map(|resource| {
                let holder = Holder::from(PodHolder {
                    resource: (*resource).to_owned(),
                    namespace: "default".to_owned(),
                    pod: "a".to_owned(),
                    container: "app".to_owned(),
                });
                (ID.parse().unwrap(), vec![holder])
            });
            pods.holders.extend(holder);
        }
        owners
    }

    #[test]
    fn a_grant_counts_until_the_kubelet_lists_it_or_should_have() {
        for (listed, second, is_held) in [
            (Some(&[][..]), 0, true),
            (Some(&[]), 9, true),
            (Some(&[]), 10, false),
            (Some(&["x.y/vf"]), 0, false),
            (Some(&["x.y/other"]), 9, true),
            (None, 299, true),
            (None, 300, false),
        ] {
            let (mut grants, start) = (Grants::default(), Instant::now());
            grants.add("x.y/vf", &[ID.parse().unwrap()], start);
            let then = start + Duration::from_secs(second);
            let holders = grants.holders(&owners(listed), then);
            assert_eq!(!holders.is_empty(), is_held, "{listed:?} {second}");
        }
    }

    #[test]
    fn a_listed_grant_is_not_held_again_when_its_pod_ends() {
        let (mut grants, now) = (Grants::default(), Instant::now());
        grants.add("x.y/vf", &[ID.parse().unwrap()], now);
        assert!(grants.holders(&owners(Some(&["x.y/vf"])), now).is_empty());
        assert!(grants.holders(&owners(Some(&[])), now).is_empty());
    }
}
