//! The network device of a VF, on the way back to the baseline.

use sriov_host::ethtool::EthtoolSettings;
use sriov_host::link::Difference;
use sriov_host::netlink::{Link, LinkChange};

use crate::model::SavedLink;

/// Special conditions of one restoration of a network device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkRestore {
    /// The PF lost the address of the VF.
    pub(crate) is_unpinned: bool,
    /// The driver must reset the VF first, because it lost a setting that it had accepted.
    pub(crate) resets: bool,
}

/// A network device as it came back to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReturnedLink {
    /// What netlink reports.
    pub(crate) link: Link,
    /// What ethtool reports; absent when it cannot be read.
    pub(crate) ethtool: Option<EthtoolSettings>,
    /// Whether anything is stacked on it, in whatever namespace.
    pub(crate) has_uppers: bool,
    /// Whether programs of tcx are attached to it.
    pub(crate) has_programs: bool,
    /// Whether its driver has just started, so that no pod can have changed it.
    pub(crate) is_fresh: bool,
}

/// The changes that restore a network device on the host: it is down for the changes, and up afterwards only if it was up.
pub(crate) fn link_changes(
    found: &ReturnedLink,
    was: &SavedLink,
    how: LinkRestore,
) -> Vec<LinkChange> {
    let link = &found.link;
    let remedies = differences(found, was)
        .into_iter()
        .filter_map(|difference| difference.remedy);
    let is_apart = |change: &LinkChange| {
        matches!(
            change,
            LinkChange::Up | LinkChange::Down | LinkChange::Mac(_)
        )
    };
    let mut changes: Vec<LinkChange> = remedies.filter(|change| !is_apart(change)).collect();
    changes.sort_by_key(order);
    changes.extend(mac_changes(link, was, how.is_unpinned));
    if link.is_up && (!changes.is_empty() || !was.is_up) {
        changes.insert(0, LinkChange::Down);
    }
    if how.resets && !link.is_up {
        changes.splice(0..0, [LinkChange::Up, LinkChange::Down]);
    }
    if was.is_up && (!link.is_up || !changes.is_empty()) {
        changes.push(LinkChange::Up);
    }
    changes
}

/// The first difference that keeps a network device from its next pod.
///
/// Names do not count, as another device may own them for good.
/// What no change restores does not count on a device whose driver has just started: no pod has made it.
pub(crate) fn link_difference(found: &ReturnedLink, was: &SavedLink) -> Option<Difference> {
    differences(found, was)
        .into_iter()
        .find(|difference| match &difference.remedy {
            Some(remedy) => !is_name(remedy),
            None => !found.is_fresh,
        })
}

fn differences(found: &ReturnedLink, was: &SavedLink) -> Vec<Difference> {
    let ReturnedLink {
        link,
        ethtool,
        has_uppers,
        has_programs,
        is_fresh: _,
    } = found;
    let mut all = was.clean(link).differences(link);
    if let (Some(was), Some(is)) = (&was.ethtool, ethtool) {
        all.extend(was.differences(is));
    }
    let present = [
        ("upper device", *has_uppers),
        ("tcx program", *has_programs),
    ];
    let present = present.into_iter().filter(|(_, is_present)| *is_present);
    all.extend(present.map(|(what, _)| Difference::without_remedy(what, "present", "none")));
    all
}

fn is_name(change: &LinkChange) -> bool {
    matches!(
        change,
        LinkChange::Name(_) | LinkChange::AddAltName(_) | LinkChange::DropAltName(_)
    )
}

/// A name that the pod took as alternative name, or the other way round, is free only after the other is changed.
/// An XDP program limits the MTU, and some drivers refuse an address for a wrong MTU.
fn order(change: &LinkChange) -> u8 {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have no order")]
    match change {
        LinkChange::DropAltName(_) => 0,
        LinkChange::Name(_) => 1,
        LinkChange::AddAltName(_) => 2,
        LinkChange::Release | LinkChange::DetachXdp(_) => 3,
        LinkChange::Mtu(_) => 4,
        _ => 5,
    }
}

fn mac_changes(link: &Link, was: &SavedLink, is_unpinned: bool) -> Vec<LinkChange> {
    match was.mac {
        // The PF lost the address when it was unpinned, and the kernel does not pass on an address that the device has already:
        // the driver reports it again only after it had another address (net/core/dev.c, `netif_set_mac_address`).
        Some(mac) if is_unpinned && link.mac == was.mac => {
            vec![LinkChange::Mac(mac.neighbour()), LinkChange::Mac(mac)]
        }
        Some(mac) if is_unpinned || link.mac != was.mac => vec![LinkChange::Mac(mac)],
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
