//! The expectation of a clean link as data, and the differences of a link from it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::LinkChange;
use super::properties::{LinkFlags, LinkLimit, LinkProperties, XdpMode};
use super::qdisc::Qdisc;
use super::report::Link;
use crate::mac::MacAddr;
use crate::raw_name::RawName;

/// Bytes and segments of one packet for a device without limits of its own (`GSO_LEGACY_MAX_SIZE`, `GSO_MAX_SEGS`, `include/linux/netdevice.h`).
const LEGACY_SIZE: u32 = 65536;
const LEGACY_SEGMENTS: u32 = 65535;
/// `DEFAULT_TX_QUEUE_LEN`, `include/net/pkt_sched.h`.
const QUEUE_LENGTH: u32 = 1000;

/// What a link must be like; a name, address, MTU or state that is absent is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CleanLink {
    /// Name.
    pub name: Option<RawName>,
    /// Alternative names.
    pub altnames: Option<Vec<RawName>>,
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether the link is up.
    pub is_up: Option<bool>,
    /// Everything else.
    pub properties: LinkProperties,
}

/// One property of a device that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The property, in the words of `ip link` and `ethtool`.
    pub property: &'static str,
    /// The value that was found.
    pub found: String,
    /// The value that was expected.
    pub expected: String,
    /// The change that restores the property; none if only a new start of the driver can.
    pub remedy: Option<LinkChange>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            property,
            found,
            expected,
            remedy: _,
        } = self;
        write!(f, "{property} is {found}, expected {expected}")
    }
}

impl Difference {
    /// A property that no change restores.
    pub fn without_remedy(
        property: &'static str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self {
            property,
            found: found.to_string(),
            expected: expected.to_string(),
            remedy: None,
        }
    }

    /// A device that is stacked on the link, wherever it is.
    pub fn upper_device(name: &RawName) -> Self {
        Self::without_remedy("upper device", format!("`{name}`"), NONE)
    }
}

impl Qdisc {
    /// The difference that it is, if somebody made it; the kernel's own are none.
    pub fn difference(&self) -> Option<Difference> {
        let Self {
            kind,
            place,
            is_explicit,
        } = self;
        is_explicit.then(|| Difference {
            remedy: Some(LinkChange::DeleteQdisc(*place)),
            ..Difference::without_remedy("queue discipline", format!("`{kind}` at {place}"), NONE)
        })
    }
}

const NONE: &str = "none";

impl CleanLink {
    /// The link as it is now.
    pub fn of(link: &Link) -> Self {
        Self {
            name: Some(link.name.clone()),
            altnames: Some(link.altnames.clone()),
            mac: link.mac,
            mtu: Some(link.mtu),
            is_up: Some(link.is_up),
            properties: (*link.properties).clone(),
        }
    }

    /// The link as the kernel and its driver make it: nothing of it has been changed yet.
    ///
    /// Name, address and MTU are up to the driver and to udev, and are left open.
    pub fn probed(link: &Link) -> Self {
        let is_ethernet = link.mac.is_some();
        let limits = link.properties.limits.keys().filter_map(|limit| {
            let (size, segments) = link.tso_max?;
            let value = match limit {
                LinkLimit::GsoMaxSize | LinkLimit::GsoIpv4MaxSize => size.min(LEGACY_SIZE),
                LinkLimit::GsoMaxSegs => segments.min(LEGACY_SEGMENTS),
                LinkLimit::GroMaxSize | LinkLimit::GroIpv4MaxSize => LEGACY_SIZE,
            };
            Some((*limit, value))
        });
        Self {
            properties: LinkProperties {
                flags: LinkFlags::MULTICAST,
                queue_length: is_ethernet.then_some(QUEUE_LENGTH),
                limits: limits.collect(),
                broadcast: is_ethernet.then(|| MacAddr::new([0xff; 6])),
                ..LinkProperties::default()
            },
            ..Self::default()
        }
    }

    /// Lists all differences; properties that the kernel does not report are not compared.
    pub fn differences(&self, link: &Link) -> Vec<Difference> {
        let Self {
            name,
            altnames,
            mac,
            mtu,
            is_up,
            properties,
        } = self;
        let mut found = Vec::new();
        if let Some(altnames) = altnames {
            found.extend(of_altnames(altnames, &link.altnames));
        }
        found.extend(name.as_ref().and_then(|name| {
            let remedy = name.to_ifname().map(LinkChange::Name);
            differs("name", &link.name, name, remedy)
        }));
        found.extend(mac.zip(link.mac).and_then(|(expected, is)| {
            differs("address", &is, &expected, Some(LinkChange::Mac(expected)))
        }));
        found.extend(mtu.and_then(|expected| {
            differs("mtu", &link.mtu, &expected, Some(LinkChange::Mtu(expected)))
        }));
        found.extend(properties.differences(&link.properties));
        found.extend(
            is_up
                .filter(|expected| *expected != link.is_up)
                .map(|expected| {
                    let state = |is_up| if is_up { "up" } else { "down" };
                    let change = if expected {
                        LinkChange::Up
                    } else {
                        LinkChange::Down
                    };
                    Difference {
                        remedy: Some(change),
                        ..Difference::without_remedy("state", state(link.is_up), state(expected))
                    }
                }),
        );
        found
    }
}

impl LinkProperties {
    /// Lists all differences; properties that the kernel does not report are not compared.
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let Self {
            flags,
            promiscuity,
            allmulti,
            queue_length,
            limits,
            group,
            alias,
            broadcast,
            mode,
            xdp,
            master,
        } = self;
        let mut all = Vec::new();
        all.extend(differs(
            "flags",
            &found.flags,
            flags,
            Some(LinkChange::Flags(*flags)),
        ));
        // Fewer users than before are not a trace of a pod.
        all.extend(
            (found.promiscuity > *promiscuity)
                .then(|| Difference::without_remedy("promiscuity", found.promiscuity, promiscuity)),
        );
        all.extend(
            (found.allmulti > *allmulti)
                .then(|| Difference::without_remedy("allmulti", found.allmulti, allmulti)),
        );
        all.extend(
            queue_length
                .zip(found.queue_length)
                .and_then(|(expected, is)| {
                    let remedy = LinkChange::QueueLength(expected);
                    differs("queue length", &is, &expected, Some(remedy))
                }),
        );
        all.extend(of_limits(limits, &found.limits));
        all.extend(differs(
            "group",
            &found.group,
            group,
            Some(LinkChange::Group(*group)),
        ));
        all.extend(of_alias(alias.as_ref(), found.alias.as_ref()));
        all.extend(broadcast.zip(found.broadcast).and_then(|(expected, is)| {
            let remedy = LinkChange::Broadcast(expected);
            differs("broadcast address", &is, &expected, Some(remedy))
        }));
        all.extend(differs(
            "link mode",
            &found.mode,
            mode,
            Some(LinkChange::Mode(*mode)),
        ));
        all.extend(of_xdp(xdp, &found.xdp));
        if let Some(index) = found.master.filter(|_| found.master != *master) {
            let expected = master.map_or(NONE.to_owned(), |index| format!("link {index}"));
            all.push(Difference {
                remedy: master.is_none().then_some(LinkChange::Release),
                ..Difference::without_remedy("master", format!("link {index}"), expected)
            });
        }
        all
    }
}

fn differs<T: PartialEq + fmt::Display>(
    property: &'static str,
    found: &T,
    expected: &T,
    remedy: Option<LinkChange>,
) -> Option<Difference> {
    (found != expected).then(|| Difference {
        remedy,
        ..Difference::without_remedy(property, found, expected)
    })
}

fn of_altnames(expected: &[RawName], found: &[RawName]) -> Vec<Difference> {
    let quoted = |name: &RawName| format!("`{name}`");
    let strange = found.iter().filter(|name| !expected.contains(name));
    let strange = strange.map(|name| Difference {
        remedy: Some(LinkChange::DropAltName(name.clone())),
        ..Difference::without_remedy("alternative name", quoted(name), NONE)
    });
    let lost = expected.iter().filter(|name| !found.contains(name));
    let lost = lost.map(|name| Difference {
        remedy: Some(LinkChange::AddAltName(name.clone())),
        ..Difference::without_remedy("alternative name", NONE, quoted(name))
    });
    strange.chain(lost).collect()
}

fn of_alias(expected: Option<&RawName>, found: Option<&RawName>) -> Option<Difference> {
    let text =
        |alias: Option<&RawName>| alias.map_or(NONE.to_owned(), |alias| format!("`{alias}`"));
    (found != expected).then(|| Difference {
        remedy: Some(LinkChange::Alias(expected.cloned().unwrap_or_default())),
        ..Difference::without_remedy("alias", text(found), text(expected))
    })
}

/// In the order in which they can be set: the limits for IPv4 follow the others.
fn of_limits(
    expected: &BTreeMap<LinkLimit, u32>,
    found: &BTreeMap<LinkLimit, u32>,
) -> Vec<Difference> {
    let compared = expected.iter().filter_map(|(limit, expected)| {
        let remedy = LinkChange::Limit(*limit, *expected);
        differs(limit.name(), found.get(limit)?, expected, Some(remedy))
    });
    compared.collect()
}

fn of_xdp(expected: &BTreeMap<XdpMode, u32>, found: &BTreeMap<XdpMode, u32>) -> Vec<Difference> {
    let text =
        |program: Option<&u32>| program.map_or(NONE.to_owned(), |id| format!("program {id}"));
    let modes = [XdpMode::Native, XdpMode::Generic, XdpMode::Offloaded];
    let differing = modes.into_iter().filter_map(|mode| {
        let (expected, found) = (expected.get(&mode), found.get(&mode));
        (expected != found).then(|| Difference {
            // A program that was taken away cannot be attached again.
            remedy: expected.is_none().then_some(LinkChange::DetachXdp(mode)),
            ..Difference::without_remedy("xdp", text(found), text(expected))
        })
    });
    differing.collect()
}

#[cfg(test)]
mod tests;
