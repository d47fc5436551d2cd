//! The network device of a VF, on the way back to the baseline.

use sriov_host::MacAddr;
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

/// The changes that restore a network device on the host: it is down for the changes, and up afterwards only if it was up.
pub(crate) fn link_changes(link: &Link, was: &SavedLink, how: LinkRestore) -> Vec<LinkChange> {
    let mut changes = name_changes(link, was);
    changes.extend(was.mtu.filter(|mtu| *mtu != link.mtu).map(LinkChange::Mtu));
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

/// The first difference between a network device and its baseline, as a sentence; names do not count, as another device may own them for good.
pub(crate) fn link_difference(link: &Link, was: &SavedLink) -> Option<String> {
    if was.mac.is_some() && link.mac != was.mac {
        let [was, is] = [was.mac, link.mac].map(|mac| mac.unwrap_or(MacAddr::ZERO));
        return Some(format!("its network device had mac {was}, it has {is}"));
    }
    if let Some(mtu) = was.mtu.filter(|mtu| *mtu != link.mtu) {
        let is = link.mtu;
        return Some(format!("its network device had mtu {mtu}, it has {is}"));
    }
    let state = |is_up| if is_up { "up" } else { "down" };
    let [was, is] = [was.is_up, link.is_up].map(state);
    (was != is).then(|| format!("its network device was {was}, it is {is}"))
}

fn name_changes(link: &Link, was: &SavedLink) -> Vec<LinkChange> {
    let altnames = was.altnames.as_deref();
    let mut changes = Vec::new();
    if let Some(altnames) = altnames {
        let added = link.altnames.iter().filter(|name| !altnames.contains(name));
        changes.extend(added.map(|name| LinkChange::DropAltName(name.clone())));
    }
    if link.name != was.name.as_str() {
        changes.push(LinkChange::Name(was.name.clone()));
    }
    let lost = altnames
        .into_iter()
        .flatten()
        .filter(|name| !link.altnames.contains(name));
    changes.extend(lost.map(|name| LinkChange::AddAltName(name.clone())));
    changes
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
