//! The state of a kernel in memory, and the effect of a request on it, independent of the encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use nix::errno::Errno;

use super::{Failure, FakeKernel, Request};
use crate::ethtool::EthtoolSettings;
use crate::link::{Link, LinkChange, LinkFlags, LinkLimit, Qdisc};
use crate::netlink::Route;
use crate::netns::NetnsId;
use crate::raw_name::RawName;
use crate::vf::{VfChange, VfIndex, VfSettings};

type Holds = Box<dyn FnMut(usize, &Request) -> bool + Send>;

#[derive(Default)]
pub(in crate::netlink) struct State {
    pub(super) links: BTreeMap<u32, HeldLink>,
    pub(super) namespaces: Vec<(NetnsId, FakeKernel)>,
    pub(super) failures: Vec<(Holds, Failure)>,
    pub(super) requests: Vec<Request>,
    pub(super) cookie: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct HeldLink {
    pub(super) link: Link,
    /// The device in the message about the link.
    pub(super) parent: Option<String>,
    /// The device that ethtool reports.
    pub(super) bus_info: Option<String>,
    pub(super) ethtool: EthtoolSettings,
    /// Whether something is stacked on it; `None` if the kernel cannot report it.
    pub(super) has_uppers: Option<bool>,
    /// Whether a program of tcx is attached to it.
    pub(super) has_programs: bool,
    /// Attributes that are part of each message about the link, as bytes.
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
    pub(super) vfs: BTreeMap<VfIndex, VfSettings>,
    /// Settings that are accepted and not reported.
    pub(super) hidden: Vec<&'static str>,
    /// Settings that are accepted and have no effect.
    pub(super) frozen: Vec<&'static str>,
    pub(super) addresses: Vec<IpNet>,
    pub(super) routes: Vec<Route>,
    pub(super) neighbours: Vec<IpAddr>,
    pub(super) qdiscs: Vec<Qdisc>,
}

/// Answer to a request that succeeds.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Links {
        links: Vec<HeldLink>,
        with_vfs: bool,
    },
    Addresses(Vec<(u32, IpNet)>),
    Routes(Vec<(u32, Route)>),
    Neighbours(Vec<(u32, IpAddr)>),
    Qdiscs(Vec<(u32, Qdisc)>),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("links", &self.links)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn add_link(&mut self, link: Link) {
        let device = link.device.map(|device| device.to_string());
        let held = HeldLink {
            link,
            parent: device.clone(),
            bus_info: device,
            ethtool: EthtoolSettings::default(),
            has_uppers: Some(false),
            has_programs: false,
            attributes: Vec::new(),
            vfs: BTreeMap::new(),
            hidden: Vec::new(),
            frozen: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            qdiscs: Vec::new(),
        };
        self.links.insert(held.link.index, held);
    }

    /// Records the request; returns the failure that a test wants.
    pub(super) fn note(&mut self, request: &Request) -> Option<Failure> {
        let number = self.requests.len();
        self.requests.push(request.clone());
        let failing = self
            .failures
            .iter_mut()
            .find_map(|(holds, failure)| holds(number, request).then_some(failure));
        failing.cloned()
    }

    pub(super) fn execute(&mut self, request: &Request) -> Result<Answer, Errno> {
        let links = |links, with_vfs| Answer::Links { links, with_vfs };
        match request {
            Request::ReadLink(index) => Ok(links(vec![self.held(*index)?.clone()], false)),
            Request::ReadVfs(index) => Ok(links(vec![self.held(*index)?.clone()], true)),
            Request::ReadLinkNamed(name) => {
                let index = self.named(&name.as_str().into()).ok_or(Errno::ENODEV)?;
                Ok(links(vec![self.held(index)?.clone()], false))
            }
            Request::ListLinks => Ok(links(self.links.values().cloned().collect(), false)),
            Request::ListAddresses => Ok(Answer::Addresses(self.all(|held| &held.addresses))),
            Request::ListRoutes => Ok(Answer::Routes(self.all(|held| &held.routes))),
            Request::ListNeighbours => Ok(Answer::Neighbours(self.all(|held| &held.neighbours))),
            Request::ListQdiscs => Ok(Answer::Qdiscs(self.all(|held| &held.qdiscs))),
            Request::Probe(index) => self.held(*index).map(|_| Answer::Done),
            Request::SetVf { pf, vf, change } => {
                let pf = self.held(*pf)?;
                let settings = pf.vfs.get_mut(vf).ok_or(Errno::EINVAL)?;
                if !pf.frozen.contains(&change.setting()) {
                    set_vf(settings, change);
                }
                Ok(Answer::Done)
            }
            Request::SetLink { link, change } => self.set_link(*link, change),
            Request::MoveLink { link, target, name } => self.move_link(*link, *target, name),
            Request::AddAddress { link, address } => {
                let addresses = &mut self.held(*link)?.addresses;
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
                Ok(Answer::Done)
            }
            Request::Resolve { link, address } => {
                let neighbours = &mut self.held(*link)?.neighbours;
                if !neighbours.contains(address) {
                    neighbours.push(*address);
                }
                Ok(Answer::Done)
            }
            Request::AddRoute { link, route } => {
                if !self.held(*link)?.link.is_up {
                    return Err(Errno::ENETDOWN);
                }
                // Only an identical route is refused (`fib_table_insert`, `net/ipv4/fib_trie.c`).
                let routes = &mut self.held(*link)?.routes;
                if routes.contains(route) {
                    return Err(Errno::EEXIST);
                }
                routes.push(route.clone());
                Ok(Answer::Done)
            }
        }
    }

    /// The items of all links, each with the index of its link.
    fn all<T: Clone>(&self, of: impl Fn(&HeldLink) -> &Vec<T>) -> Vec<(u32, T)> {
        let links = self.links.iter();
        let pairs =
            links.flat_map(|(index, held)| of(held).iter().map(|item| (*index, item.clone())));
        pairs.collect()
    }

    fn held(&mut self, index: u32) -> Result<&mut HeldLink, Errno> {
        self.links.get_mut(&index).ok_or(Errno::ENODEV)
    }

    /// Finds a link by name or alternative name, which share one space (`netdev_name_node_lookup`, `net/core/dev.c`).
    fn named(&self, name: &RawName) -> Option<u32> {
        let is = |link: &Link| link.name == *name || link.altnames.contains(name);
        let held = self.links.values().find(|held| is(&held.link))?;
        Some(held.link.index)
    }

    fn set_link(&mut self, index: u32, change: &LinkChange) -> Result<Answer, Errno> {
        let taken = match (new_name(change), self.links.contains_key(&index)) {
            (Some(name), true) => self.named(&name).is_some(),
            _ => false,
        };
        let held = self.held(index)?;
        if taken {
            return Err(Errno::EEXIST);
        }
        let link = &mut held.link;
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are properties")]
        match change {
            LinkChange::Up => {
                link.is_up = true;
                link.has_carrier = true;
            }
            LinkChange::Down => {
                link.is_up = false;
                link.has_carrier = false;
                held.routes.clear();
            }
            LinkChange::Mac(mac) => link.mac = Some(*mac),
            LinkChange::Mtu(mtu) => link.mtu = *mtu,
            LinkChange::Name(name) => link.name = name.into(),
            LinkChange::AddAltName(name) => link.altnames.push(name.clone()),
            LinkChange::DropAltName(name) => {
                let known = link.altnames.len();
                link.altnames.retain(|alt| alt != name);
                if link.altnames.len() == known {
                    return Err(Errno::EINVAL);
                }
            }
            LinkChange::DeleteQdisc(place) => {
                let known = held.qdiscs.len();
                held.qdiscs.retain(|qdisc| qdisc.place != *place);
                if held.qdiscs.len() == known {
                    return Err(Errno::ENOENT);
                }
            }
            other => set_property(link, other)?,
        }
        Ok(Answer::Done)
    }

    /// Moves a link: it is set down, loses its addresses, and keeps its index if that is free.
    ///
    /// It moves under its own name if that is free, and is renamed afterwards: if the new name is refused, the link stays in the target.
    fn move_link(&mut self, index: u32, target: NetnsId, name: &str) -> Result<Answer, Errno> {
        let known = self.namespaces.iter().find(|(id, _)| *id == target);
        let there = known
            .map(|(_, kernel)| FakeKernel(Arc::clone(&kernel.0)))
            .ok_or(Errno::EINVAL)?;
        let mut there = there.0.try_lock().map_err(|_same_kernel| Errno::EINVAL)?;
        let own_is_taken = there.named(&self.held(index)?.link.name).is_some();
        let new_is_taken = there.named(&name.into()).is_some();
        if own_is_taken && new_is_taken {
            return Err(Errno::EEXIST);
        }
        let mut held = self.links.remove(&index).ok_or(Errno::ENODEV)?;
        if there.links.contains_key(&index) {
            let last = there.links.keys().next_back().copied();
            held.link.index = last.unwrap_or_default().saturating_add(1);
        }
        if !new_is_taken {
            held.link.name = name.into();
        }
        held.link.is_up = false;
        held.link.has_carrier = false;
        held.addresses.clear();
        held.routes.clear();
        held.neighbours.clear();
        held.qdiscs.clear();
        there.links.insert(held.link.index, held);
        if new_is_taken {
            return Err(Errno::EEXIST);
        }
        Ok(Answer::Done)
    }
}

/// The name that a change would add to the namespace.
fn new_name(change: &LinkChange) -> Option<RawName> {
    if let LinkChange::Name(name) = change {
        return Some(name.into());
    }
    if let LinkChange::AddAltName(name) = change {
        return Some(name.clone());
    }
    None
}

/// The rules of `do_setlink` (`net/core/rtnetlink.c`) for what a pod can change.
fn set_property(link: &mut Link, change: &LinkChange) -> Result<(), Errno> {
    let tso_max = link.tso_max;
    let properties = &mut link.properties;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the caller handles all others"
    )]
    match change {
        LinkChange::Flags(flags) => {
            let count = |flag, count: u32| {
                let (was, is) = (properties.flags & flag == flag, *flags & flag == flag);
                count.saturating_add(is.into()).saturating_sub(was.into())
            };
            properties.promiscuity = count(LinkFlags::PROMISC, properties.promiscuity);
            properties.allmulti = count(LinkFlags::ALLMULTI, properties.allmulti);
            properties.flags = *flags;
        }
        LinkChange::QueueLength(length) => properties.queue_length = Some(*length),
        LinkChange::Limit(limit, value) => {
            let most = match limit {
                LinkLimit::GsoMaxSize | LinkLimit::GsoIpv4MaxSize => tso_max.map(|max| max.0),
                LinkLimit::GsoMaxSegs => tso_max.map(|max| max.1),
                LinkLimit::GroMaxSize | LinkLimit::GroIpv4MaxSize => None,
            };
            if most.is_some_and(|most| *value > most) {
                return Err(Errno::EINVAL);
            }
            properties.limits.insert(*limit, *value);
            let follows = match limit {
                LinkLimit::GsoMaxSize => Some(LinkLimit::GsoIpv4MaxSize),
                LinkLimit::GroMaxSize => Some(LinkLimit::GroIpv4MaxSize),
                _ => None,
            };
            // `netif_set_gso_max_size`, include/linux/netdevice.h.
            let follows = follows.and_then(|limit| properties.limits.get_mut(&limit));
            if let Some(follows) = follows.filter(|_| *value <= 65536) {
                *follows = *value;
            }
        }
        LinkChange::Group(group) => properties.group = *group,
        LinkChange::Alias(alias) => {
            properties.alias = Some(alias.clone()).filter(|alias| !alias.is_empty());
        }
        LinkChange::Broadcast(mac) => properties.broadcast = Some(*mac),
        LinkChange::Mode(mode) => properties.mode = *mode,
        LinkChange::DetachXdp(mode) => {
            properties.xdp.remove(mode);
        }
        LinkChange::Release => properties.master = None,
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

fn set_vf(settings: &mut VfSettings, change: &VfChange) {
    match change {
        VfChange::Mac(mac) => settings.mac = Some(*mac),
        VfChange::Vlan(vlan) => settings.vlan = Some(*vlan),
        VfChange::Spoofchk(on) => settings.spoofchk = Some(*on),
        VfChange::Trust(on) => settings.trust = Some(*on),
        VfChange::Rate(rate) => settings.rate = Some(*rate),
        VfChange::LinkState(state) => settings.link_state = Some(*state),
        VfChange::NodeGuid(guid) => settings.node_guid = Some(*guid),
        VfChange::PortGuid(guid) => settings.port_guid = Some(*guid),
    }
}
