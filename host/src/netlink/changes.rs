//! One change of a link as one request.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags as WireFlags, LinkMessage};
use netlink_packet_route::tc::TcMessage;

use super::ifinfo::{ALT_IFNAME, BROADCAST, IFALIAS, LIMITS, LINKMODE, MASTER, PROP_LIST, XDP};
use super::xdp;
use crate::link::{LinkChange, LinkFlags};
use crate::nla::push;
use crate::raw_name::RawName;

/// `NLA_F_NESTED`, include/uapi/linux/netlink.h.
const NESTED: u16 = 0x8000;

/// The request and its flags.
pub(super) fn encode(index: u32, change: &LinkChange) -> (RouteNetlinkMessage, u16) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend(attribute(change));
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are an attribute and nothing else"
    )]
    match change {
        // A new property is an addition to a list (net/core/rtnetlink.c, `rtnl_linkprop`).
        LinkChange::AddAltName(_) => {
            return (
                RouteNetlinkMessage::NewLinkProp(message),
                NLM_F_EXCL | NLM_F_APPEND,
            );
        }
        LinkChange::DropAltName(_) => return (RouteNetlinkMessage::DelLinkProp(message), 0),
        LinkChange::Up => {
            message.header.flags = WireFlags::Up;
            message.header.change_mask = WireFlags::Up;
        }
        LinkChange::DeleteQdisc(place) => {
            let mut message = TcMessage::default();
            message.header.index = i32::try_from(index).unwrap_or_default();
            message.header.parent = place.parent().into();
            return (RouteNetlinkMessage::DelQueueDiscipline(message), 0);
        }
        LinkChange::Down => message.header.change_mask = WireFlags::Up,
        LinkChange::Flags(flags) => {
            message.header.flags = WireFlags::from_bits_retain(flags.bits());
            message.header.change_mask = WireFlags::from_bits_retain(LinkFlags::ALL.bits());
        }
        _ => {}
    }
    (RouteNetlinkMessage::SetLink(message), 0)
}

fn attribute(change: &LinkChange) -> Option<LinkAttribute> {
    let raw = |kind, value: &[u8]| LinkAttribute::Other(DefaultNla::new(kind, value.to_vec()));
    match change {
        LinkChange::Up | LinkChange::Down | LinkChange::Flags(_) | LinkChange::DeleteQdisc(_) => {
            None
        }
        LinkChange::Mac(mac) => Some(LinkAttribute::Address(mac.bytes().to_vec())),
        LinkChange::Mtu(mtu) => Some(LinkAttribute::Mtu(*mtu)),
        LinkChange::Name(name) => Some(LinkAttribute::IfName(name.to_string())),
        LinkChange::AddAltName(name) | LinkChange::DropAltName(name) => {
            Some(raw(PROP_LIST | NESTED, &altname(name)))
        }
        LinkChange::QueueLength(length) => Some(LinkAttribute::TxQueueLen(*length)),
        LinkChange::Limit(limit, value) => {
            let (kind, _) = LIMITS.iter().find(|(_, other)| other == limit)?;
            Some(raw(*kind, &value.to_ne_bytes()))
        }
        LinkChange::Group(group) => Some(LinkAttribute::Group(*group)),
        // Without a zero at its end: one that is empty removes the alias (`dev_set_alias`, net/core/dev.c).
        LinkChange::Alias(alias) => Some(raw(IFALIAS, alias.as_bytes())),
        LinkChange::Broadcast(mac) => Some(raw(BROADCAST, &mac.bytes())),
        LinkChange::Mode(mode) => Some(raw(LINKMODE, &[*mode])),
        LinkChange::DetachXdp(mode) => Some(raw(XDP | NESTED, &xdp::detach(*mode))),
        LinkChange::Release => Some(raw(MASTER, &0_u32.to_ne_bytes())),
    }
}

/// A list of properties with one alternative name; the typed attribute could not hold any bytes.
fn altname(name: &RawName) -> Vec<u8> {
    let mut list = Vec::new();
    push(&mut list, ALT_IFNAME, &[name.as_bytes(), &[0]].concat());
    list
}
