//! What CHECK compares: names each difference between an attachment and what it is now. No I/O.

use std::fmt;
use std::path::Path;

use ipnet::IpNet;
use sriov_host::netlink::{Link, Route};
use sriov_host::vf::{VfChange, VfSettings};
use sriov_host::{IfName, PciAddress};

use crate::model::{Driver, SavedAttachmentV1};
use crate::result::Interface;

/// A VF that is not as it was attached.
#[derive(Debug, thiserror::Error)]
#[error("VF {device} drifted: {}", .drifts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Drifted {
    /// The VF.
    pub device: PciAddress,
    /// All differences.
    pub drifts: Vec<Drift>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    what: String,
    wanted: String,
    found: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            wanted,
            found,
        } = self;
        write!(f, "{what}: wanted {wanted}, found {found}")
    }
}

impl Drift {
    fn new(what: impl Into<String>, wanted: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self {
            what: what.into(),
            wanted: wanted.to_string(),
            found: found.to_string(),
        }
    }

    /// The VF was destroyed and created again, or the node rebooted.
    pub(crate) fn of_device(device: PciAddress) -> Self {
        Self::new(
            format!("VF {device}"),
            "the one that was attached",
            "one that was created since, or none",
        )
    }

    /// `CNI_NETNS` is another network namespace now.
    pub(crate) fn of_netns(path: &Path) -> Self {
        Self::new(
            format!("CNI_NETNS `{}`", path.display()),
            "the network namespace of the attachment",
            "another one",
        )
    }

    /// `prevResult` does not have the interface.
    pub(crate) fn of_result(ifname: &IfName) -> Self {
        let wanted = format!("interface `{ifname}`");
        Self::new("prevResult", wanted, "no interface of that name")
    }

    /// The VF is not bound to a driver for user space any more.
    pub(crate) fn of_driver(device: PciAddress, driver: Option<&Driver>) -> Self {
        Self::new(
            format!("driver of the VF {device}"),
            "a driver for user space",
            driver.map_or("none", Driver::as_str),
        )
    }

    /// The network device is not in the pod under its name.
    pub(crate) fn of_place(device: PciAddress, ifname: &IfName, elsewhere: Option<&Link>) -> Self {
        let found = elsewhere.map(|link| format!("`{}`", link.name));
        Self::new(
            format!("network device of the VF {device}"),
            format!("`{ifname}`"),
            found.as_deref().unwrap_or("none in the pod"),
        )
    }
}

/// Settings at the PF; a setting that the PF does not report counts as unchanged.
///
/// A device in a bond has the address that the bond gives it, which the PF may report.
pub(crate) fn settings(
    saved: &SavedAttachmentV1,
    now: &VfSettings,
    is_enslaved: bool,
) -> Vec<Drift> {
    let is_compared = |change: &&VfChange| !is_enslaved || !matches!(change, VfChange::Mac(_));
    let differing = saved
        .wanted
        .iter()
        .filter(is_compared)
        .filter_map(|wanted| {
            let found = wanted.found(now).filter(|found| found != wanted)?;
            let what = format!("{} of VF {} at {}", wanted.setting(), saved.vf, saved.pf);
            Some(Drift::new(what, wanted, found))
        });
    differing.collect()
}

/// The network device in the pod; it is compared with the result of the whole chain, because a later plugin may have set another address.
///
/// `mtu` is the MTU of the result; absent when a later plugin set another MTU without reporting it.
/// The master of an enslaved device, for instance a bond, decides on its MAC address and MTU.
pub(crate) fn link(wanted: &Interface, mtu: Option<u32>, link: &Link) -> Vec<Drift> {
    let name = &link.name;
    let mut drifts = Vec::new();
    let is_free = !is_enslaved(link);
    let mac = link.mac.filter(|_| is_free).map(|mac| mac.to_string());
    if let (Some(wanted), Some(mac)) = (&wanted.mac, mac)
        && !wanted.eq_ignore_ascii_case(&mac)
    {
        drifts.push(Drift::new(format!("mac of `{name}`"), wanted, mac));
    }
    if let Some(wanted) = mtu.filter(|mtu| is_free && *mtu > 0 && *mtu != link.mtu) {
        drifts.push(Drift::new(format!("mtu of `{name}`"), wanted, link.mtu));
    }
    if !link.is_up {
        drifts.push(Drift::new(format!("state of `{name}`"), "up", "down"));
    }
    drifts
}

/// Whether a link belongs to a bond, bridge or VRF.
pub(crate) fn is_enslaved(link: &Link) -> bool {
    link.properties.master.is_some()
}

/// Addresses that are missing; others may be there.
pub(crate) fn addresses(name: &str, wanted: &[IpNet], found: &[IpNet]) -> Vec<Drift> {
    let missing = wanted.iter().filter(|address| !found.contains(address));
    missing
        .map(|address| Drift::new(format!("address of `{name}`"), address, list(found)))
        .collect()
}

/// Routes that are missing; others may be there.
pub(crate) fn routes(wanted: &[Route], found: &[Route]) -> Vec<Drift> {
    let missing = wanted
        .iter()
        .filter(|wanted| !found.iter().any(|found| is_route(wanted, found)));
    missing
        .map(|route| {
            let same = found.iter().filter(|found| found.dst == route.dst);
            Drift::new("route", route, list(same))
        })
        .collect()
}

/// Only fields that the result names must agree: a plugin that leaves out the gateway means the gateway of its addresses.
fn is_route(wanted: &Route, found: &Route) -> bool {
    let agree = |wanted: Option<u32>, found: Option<u32>| wanted.is_none() || wanted == found;
    wanted.dst.trunc() == found.dst.trunc()
        && (wanted.gw.is_none() || wanted.gw == found.gw)
        && agree(wanted.table, found.table)
        && agree(wanted.priority, found.priority)
        && agree(wanted.mtu, found.mtu)
        && agree(wanted.advmss, found.advmss)
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests;
