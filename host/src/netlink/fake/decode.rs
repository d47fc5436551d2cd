//! Requests as the kernel in memory understands them; it understands only what [`Netlink`](crate::netlink::Netlink) may send.

use std::os::unix::fs::MetadataExt;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use super::Request;
use crate::link::{LinkChange, LinkFlags, QdiscPlace};
use crate::netlink::ifinfo::{
    ADDRESS, BROADCAST, GROUP, HEADER, IFALIAS, IFF_UP, IFNAME, LIMITS, LINKMODE, MASTER, MTU,
    PROP_LIST, TXQLEN, VFINFO_LIST, XDP, altnames, flags, index, mac, parts,
};
use crate::netlink::{addresses, neighbours, routes, vf_list, xdp};
use crate::netns::NetnsId;
use crate::nla::{attribute, attributes, number32};
use crate::raw_name::RawName;
use crate::vf::VfIndex;

// include/uapi/linux/rtnetlink.h, if_link.h
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;
const NTF_USE: u8 = 1;
const NET_NS_FD: u16 = 28;
const EXT_MASK: u16 = 29;
const OIF: u16 = 4;
const EXT_MASK_VF: u32 = 1;
const EXT_MASK_SKIP_STATS: u32 = 1 << 3;

/// The request in a message; `None` if it is more or other than one named change.
pub(super) fn request(kind: u16, message_flags: u16, body: &[u8]) -> Option<Request> {
    match kind {
        // Without a filter the kernel leaves out links with long messages.
        RTM_GETLINK if message_flags & NLM_F_DUMP == NLM_F_DUMP => {
            (filter(body)? == EXT_MASK_SKIP_STATS).then_some(Request::ListLinks)
        }
        RTM_GETLINK => read_link(body),
        RTM_SETLINK => set_link(body),
        RTM_NEWLINKPROP => Some(changed(body, LinkChange::AddAltName(altname(body)?))),
        RTM_DELLINKPROP => Some(changed(body, LinkChange::DropAltName(altname(body)?))),
        RTM_GETADDR => Some(Request::ListAddresses),
        RTM_NEWADDR => {
            let (link, address) = addresses::read(body)?;
            Some(Request::AddAddress { link, address })
        }
        RTM_NEWNEIGH if message_flags & NLM_F_CREATE != 0 && body.get(10) == Some(&NTF_USE) => {
            let (link, address) = neighbours::read(body)?;
            Some(Request::Resolve { link, address })
        }
        RTM_GETNEIGH => Some(Request::ListNeighbours),
        RTM_GETQDISC => Some(Request::ListQdiscs),
        RTM_DELQDISC => {
            let places = [QdiscPlace::Root, QdiscPlace::Ingress];
            let parent = number32(body, 12)?;
            let place = places.into_iter().find(|place| place.parent() == parent)?;
            Some(changed(body, LinkChange::DeleteQdisc(place)))
        }
        RTM_GETROUTE => Some(Request::ListRoutes),
        // With `NLM_F_EXCL` a second route to a destination would be refused.
        RTM_NEWROUTE if message_flags & (NLM_F_CREATE | NLM_F_EXCL) == NLM_F_CREATE => {
            let link = attribute(body.get(12..)?, OIF)?;
            Some(Request::AddRoute {
                link: number32(link, 0)?,
                route: routes::read(body)?,
            })
        }
        _ => None,
    }
}

fn filter(body: &[u8]) -> Option<u32> {
    number32(attribute(body.get(HEADER..)?, EXT_MASK)?, 0)
}

fn read_link(body: &[u8]) -> Option<Request> {
    let index = index(body)?;
    match parts(body).collect::<Vec<_>>().as_slice() {
        [] => Some(Request::ReadLink(index)),
        [(IFNAME, name)] if index == 0 => Some(Request::ReadLinkNamed(text(name)?)),
        [(EXT_MASK, _)] if filter(body)? == EXT_MASK_VF | EXT_MASK_SKIP_STATS => {
            Some(Request::ReadVfs(index))
        }
        _ => None,
    }
}

fn set_link(body: &[u8]) -> Option<Request> {
    let link = index(body)?;
    let mask = number32(body, 12)?;
    match parts(body).collect::<Vec<_>>().as_slice() {
        [] if mask == LinkFlags::ALL.bits() => {
            let flags = LinkFlags::from_bits(flags(body));
            Some(changed(body, LinkChange::Flags(flags)))
        }
        [] if mask == IFF_UP => {
            let is_up = flags(body) & IFF_UP != 0;
            let change = if is_up {
                LinkChange::Up
            } else {
                LinkChange::Down
            };
            Some(changed(body, change))
        }
        _ if mask != 0 => None,
        [] => Some(Request::Probe(link)),
        [(VFINFO_LIST, list)] => set_vf(link, list),
        [(NET_NS_FD, fd), (IFNAME, name)] => {
            // The descriptor is one of this process, as it would be for the kernel.
            let fd = number32(fd, 0)?;
            let namespace = std::fs::metadata(format!("/proc/self/fd/{fd}")).ok()?;
            Some(Request::MoveLink {
                link,
                target: NetnsId {
                    dev: namespace.dev(),
                    ino: namespace.ino(),
                },
                name: text(name)?,
            })
        }
        [(kind, value)] => Some(changed(body, change(*kind, value)?)),
        _ => None,
    }
}

/// One change that is one attribute.
fn change(kind: u16, value: &[u8]) -> Option<LinkChange> {
    match kind {
        ADDRESS => mac(value).map(LinkChange::Mac),
        MTU => number32(value, 0).map(LinkChange::Mtu),
        IFNAME => Some(LinkChange::Name(text(value)?.parse().ok()?)),
        TXQLEN => number32(value, 0).map(LinkChange::QueueLength),
        GROUP => number32(value, 0).map(LinkChange::Group),
        IFALIAS => Some(LinkChange::Alias(RawName::from_bytes(value))),
        BROADCAST => mac(value).map(LinkChange::Broadcast),
        LINKMODE => value.first().copied().map(LinkChange::Mode),
        XDP => xdp::detached(value).map(LinkChange::DetachXdp),
        MASTER => (number32(value, 0)? == 0).then_some(LinkChange::Release),
        _ => {
            let (_, limit) = LIMITS.iter().find(|(other, _)| *other == kind)?;
            Some(LinkChange::Limit(*limit, number32(value, 0)?))
        }
    }
}

fn changed(body: &[u8], change: LinkChange) -> Request {
    Request::SetLink {
        link: index(body).unwrap_or_default(),
        change,
    }
}

fn text(value: &[u8]) -> Option<String> {
    RawName::from_bytes(value).to_str().map(str::to_owned)
}

fn altname(body: &[u8]) -> Option<RawName> {
    let list = attribute(body.get(HEADER..)?, PROP_LIST)?;
    let mut names = altnames(list);
    names.next().filter(|_| names.next().is_none())
}

/// One attribute of one VF: a batch is not atomic, and its error names no attribute.
fn set_vf(pf: u32, list: &[u8]) -> Option<Request> {
    let mut infos = vf_list::vf_infos(list);
    let info = infos.next().filter(|_| infos.next().is_none())?;
    let mut settings = attributes(info);
    let (kind, value) = settings.next().filter(|_| settings.next().is_none())?;
    let inner = if kind == vf_list::VLAN_LIST {
        attributes(value).next()?.1
    } else {
        value
    };
    Some(Request::SetVf {
        pf,
        vf: VfIndex::new(u16::try_from(number32(inner, 0)?).ok()?),
        change: vf_list::read(kind, value)?,
    })
}
