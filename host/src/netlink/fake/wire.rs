//! The kernel's end of the wire: frames, acknowledgements, and answers encoded as the kernel lays them out.

use std::ops::Range;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART,
    NLMSG_DONE, NLMSG_ERROR, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkVfInfo, Prop,
};
use nix::errno::Errno;

use super::state::{Answer, HeldLink};
use super::{Failure, FakeKernel};
use crate::mac::MacAddr;
use crate::netlink::{addresses, vfs};
use crate::vf::{VfChange, VfIndex, VfSettings};

// struct nlmsghdr, include/uapi/linux/netlink.h.
const HEADER: usize = 16;
const KIND: Range<usize> = 4..6;
const FLAGS: Range<usize> = 6..8;
const SEQUENCE: Range<usize> = 8..12;
const RTM_NEWLINK: u16 = 16;
const RTM_SETLINK: u16 = 19;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;

/// Request of which the answer is framed: a capped acknowledgement repeats its header.
struct Asked<'a> {
    header: &'a [u8],
    sequence: u32,
    flags: u16,
}

impl FakeKernel {
    /// The datagrams that answer a datagram.
    pub(in crate::netlink) fn answer(&self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(asked) = Asked::over(datagram) else {
            return Vec::new();
        };
        let request =
            decode(datagram).and_then(|request| super::decode::request(&request, asked.flags));
        let Some(request) = request else {
            return vec![asked.error(
                Errno::EOPNOTSUPP,
                Some("the fake kernel knows no such request"),
            )];
        };
        let mut state = self.state();
        match state.note(&request) {
            Some(Failure::Refuse { errno, text }) => vec![asked.error(errno, text.as_deref())],
            Some(Failure::Silence) => Vec::new(),
            Some(Failure::Garbage) => vec![asked.garbage()],
            Some(Failure::Interrupt) => vec![asked.end(NLM_F_DUMP_INTR, None)],
            Some(Failure::Unfinished(errno)) => vec![asked.end(0, Some(errno))],
            None => match state.execute(&request) {
                Ok(answer) => asked.answer(&answer),
                Err(errno) => vec![asked.error(errno, None)],
            },
        }
    }
}

/// The decoder of the crate knows no changes of properties: they are laid out as changes of links.
fn decode(datagram: &[u8]) -> Option<RouteNetlinkMessage> {
    let mut datagram = datagram.to_vec();
    let kind: &mut [u8; 2] = datagram.get_mut(KIND)?.try_into().ok()?;
    let as_property: Option<fn(LinkMessage) -> RouteNetlinkMessage> =
        match u16::from_ne_bytes(*kind) {
            RTM_NEWLINKPROP => Some(RouteNetlinkMessage::NewLinkProp),
            RTM_DELLINKPROP => Some(RouteNetlinkMessage::DelLinkProp),
            _ => None,
        };
    if as_property.is_some() {
        *kind = RTM_SETLINK.to_ne_bytes();
    }
    let message = NetlinkMessage::deserialize(&datagram).ok()?;
    match (message.payload, as_property) {
        (NetlinkPayload::InnerMessage(RouteNetlinkMessage::SetLink(link)), Some(as_property)) => {
            Some(as_property(link))
        }
        (NetlinkPayload::InnerMessage(message), None) => Some(message),
        _ => None,
    }
}

impl<'a> Asked<'a> {
    fn over(datagram: &'a [u8]) -> Option<Self> {
        let number = |range| datagram.get(range);
        Some(Self {
            header: datagram.get(..HEADER)?,
            flags: u16::from_ne_bytes(number(FLAGS)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(number(SEQUENCE)?.try_into().ok()?),
        })
    }

    fn answer(&self, answer: &Answer) -> Vec<Vec<u8>> {
        let messages: Vec<RouteNetlinkMessage> = match answer {
            Answer::Done => Vec::new(),
            Answer::Links { links, with_vfs } => links
                .iter()
                .map(|held| RouteNetlinkMessage::NewLink(link(held, *with_vfs)))
                .collect(),
            Answer::Addresses(list) => list
                .iter()
                .map(|(link, address)| {
                    RouteNetlinkMessage::NewAddress(addresses::encode_address(*link, *address))
                })
                .collect(),
            Answer::Routes(list) => list
                .iter()
                .map(|(link, route)| RouteNetlinkMessage::NewRoute(addresses::encode(*link, route)))
                .collect(),
        };
        let is_list = self.flags & NLM_F_DUMP == NLM_F_DUMP;
        let flags = if is_list { NLM_F_MULTIPART } else { 0 };
        let mut datagrams: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| {
                let mut payload = vec![0; NetlinkSerializable::buffer_len(message)];
                message.serialize(&mut payload);
                self.frame(message.message_type(), flags, &payload)
            })
            .collect();
        if is_list {
            datagrams.push(self.end(0, None));
        } else if self.flags & NLM_F_ACK != 0 {
            let payload = [&0_i32.to_ne_bytes(), self.header].concat();
            datagrams.push(self.frame(NLMSG_ERROR, NLM_F_CAPPED, &payload));
        }
        datagrams
    }

    fn error(&self, errno: Errno, text: Option<&str>) -> Vec<u8> {
        const NLMSGERR_ATTR_MSG: u16 = 1;
        let mut payload = [&code(errno).to_ne_bytes(), self.header].concat();
        let Some(text) = text else {
            return self.frame(NLMSG_ERROR, NLM_F_CAPPED, &payload);
        };
        let length = u16::try_from(4 + text.len() + 1).unwrap_or(u16::MAX);
        payload.extend(length.to_ne_bytes());
        payload.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        payload.extend(text.as_bytes());
        payload.push(0);
        payload.resize(payload.len().next_multiple_of(4), 0);
        self.frame(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload)
    }

    /// The end of a list.
    fn end(&self, flags: u16, error: Option<Errno>) -> Vec<u8> {
        let code = error.map_or(0, code);
        self.frame(NLMSG_DONE, NLM_F_MULTIPART | flags, &code.to_ne_bytes())
    }

    /// A link with an attribute that is longer than the message.
    fn garbage(&self) -> Vec<u8> {
        let attribute = [100_u16.to_ne_bytes(), 3_u16.to_ne_bytes()].concat();
        self.frame(RTM_NEWLINK, 0, &[vec![0; 16], attribute].concat())
    }

    fn frame(&self, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &self.sequence.to_ne_bytes(),
            &0_u32.to_ne_bytes(),
            payload,
        ]
        .concat()
    }
}

/// An error as the kernel writes it.
fn code(errno: Errno) -> i32 {
    -std::io::Error::from(errno)
        .raw_os_error()
        .unwrap_or_default()
}

fn link(held: &HeldLink, with_vfs: bool) -> LinkMessage {
    let link = &held.link;
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    let (layer, address) = match (link.mac, link.guid) {
        (Some(mac), _) => (LinkLayerType::Ether, mac.bytes().to_vec()),
        // A queue pair number and a subnet prefix, then the GUID.
        (None, Some(guid)) => (
            LinkLayerType::Infiniband,
            [&[0; 12][..], &guid.number().to_be_bytes()].concat(),
        ),
        (None, None) => (LinkLayerType::None, Vec::new()),
    };
    message.header.link_layer_type = layer;
    message.header.flags.set(LinkFlags::Up, link.is_up);
    message
        .header
        .flags
        .set(LinkFlags::LowerUp, link.has_carrier);
    let attributes = &mut message.attributes;
    attributes.push(LinkAttribute::IfName(link.name.clone()));
    attributes.push(LinkAttribute::Mtu(link.mtu));
    attributes.push(LinkAttribute::Address(address));
    let permanent = link.permanent_mac.map(|mac| mac.bytes().to_vec());
    attributes.extend(permanent.map(LinkAttribute::PermAddress));
    if !link.altnames.is_empty() {
        let names = link.altnames.iter().cloned().map(Prop::AltIfName);
        attributes.push(LinkAttribute::PropList(names.collect()));
    }
    let device = link.device.map(|device| device.to_string());
    attributes.extend(device.map(LinkAttribute::ParentDevName));
    if with_vfs && !held.vfs.is_empty() {
        let vfs = held
            .vfs
            .iter()
            .map(|(vf, settings)| vf_info(*vf, settings, &held.hidden));
        attributes.push(LinkAttribute::VfInfoList(vfs.collect()));
    }
    message
}

/// The MAC address is there for every VF, zero when none was set (`rtnl_fill_vfinfo`, `net/core/rtnetlink.c`).
fn vf_info(vf: VfIndex, settings: &VfSettings, hidden: &[&str]) -> LinkVfInfo {
    let VfSettings {
        mac,
        vlan,
        spoofchk,
        trust,
        rate,
        link_state,
        node_guid,
        port_guid,
    } = *settings;
    let changes = [
        Some(VfChange::Mac(mac.unwrap_or(MacAddr::ZERO))),
        vlan.map(VfChange::Vlan),
        spoofchk.map(VfChange::Spoofchk),
        trust.map(VfChange::Trust),
        rate.map(VfChange::Rate),
        link_state.map(VfChange::LinkState),
        node_guid.map(VfChange::NodeGuid),
        port_guid.map(VfChange::PortGuid),
    ];
    let told = changes
        .iter()
        .flatten()
        .filter(|change| !hidden.contains(&change.setting()));
    LinkVfInfo(told.map(|change| vfs::encode(vf, change)).collect())
}
