//! The kernel's end of the wire: frames, acknowledgements, and answers encoded as the kernel lays them out.

use std::ops::Range;

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR,
};
use netlink_packet_route::link::{LinkAttribute, LinkVfInfo};
use nix::errno::Errno;

use super::state::{Answer, HeldLink};
use super::{Failure, FakeKernel};
use crate::mac::MacAddr;
use crate::netlink::ifinfo::{
    ADDRESS, ALT_IFNAME, HEADER as IFINFOMSG, IFF_LOWER_UP, IFF_UP, IFNAME, MTU, PARENT_DEV_NAME,
    PERM_ADDRESS, PROP_LIST, VFINFO_LIST,
};
use crate::netlink::{addresses, routes, vfs};
use crate::nla::push;
use crate::vf::{VfChange, VfIndex, VfSettings};

// struct nlmsghdr, include/uapi/linux/netlink.h.
const HEADER: usize = 16;
const KIND: Range<usize> = 4..6;
const FLAGS: Range<usize> = 6..8;
const SEQUENCE: Range<usize> = 8..12;
// include/uapi/linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
// include/uapi/linux/if_arp.h
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_INFINIBAND: u16 = 32;
const ARPHRD_NONE: u16 = 0xfffe;
/// `NLA_F_NESTED`, include/uapi/linux/netlink.h.
const NESTED: u16 = 0x8000;

/// Request of which the answer is framed: a capped acknowledgement repeats its header.
struct Asked<'a> {
    header: &'a [u8],
    kind: u16,
    sequence: u32,
    flags: u16,
}

impl FakeKernel {
    /// The datagrams that answer a datagram.
    pub(in crate::netlink) fn answer(&self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(asked) = Asked::over(datagram) else {
            return Vec::new();
        };
        let body = datagram.get(HEADER..).unwrap_or_default();
        let request = super::decode::request(asked.kind, asked.flags, body);
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
            Some(Failure::Interrupt) => vec![asked.end(NLM_F_DUMP_INTR, None)],
            Some(Failure::Unfinished(errno)) => vec![asked.end(0, Some(errno))],
            Some(Failure::Cut(length)) => {
                let mut datagrams = asked.outcome(state.execute(&request));
                if let Some(first) = datagrams.first_mut() {
                    first.truncate(length);
                }
                datagrams
            }
            None => asked.outcome(state.execute(&request)),
        }
    }
}

impl<'a> Asked<'a> {
    fn over(datagram: &'a [u8]) -> Option<Self> {
        let number = |range| datagram.get(range);
        Some(Self {
            header: datagram.get(..HEADER)?,
            kind: u16::from_ne_bytes(number(KIND)?.try_into().ok()?),
            flags: u16::from_ne_bytes(number(FLAGS)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(number(SEQUENCE)?.try_into().ok()?),
        })
    }

    fn outcome(&self, outcome: Result<Answer, Errno>) -> Vec<Vec<u8>> {
        match outcome {
            Ok(answer) => self.answer(&answer),
            Err(errno) => vec![self.error(errno, None)],
        }
    }

    fn answer(&self, answer: &Answer) -> Vec<Vec<u8>> {
        let messages: Vec<(u16, Vec<u8>)> = match answer {
            Answer::Done => Vec::new(),
            Answer::Links { links, with_vfs } => links
                .iter()
                .map(|held| (RTM_NEWLINK, link(held, *with_vfs)))
                .collect(),
            Answer::Addresses(list) => list
                .iter()
                .map(|(link, address)| addresses::encode_address(*link, *address))
                .map(|message| (RTM_NEWADDR, bytes(&message)))
                .collect(),
            Answer::Routes(list) => list
                .iter()
                .map(|(link, route)| (RTM_NEWROUTE, bytes(&routes::encode(*link, route))))
                .collect(),
        };
        let is_list = self.flags & NLM_F_DUMP == NLM_F_DUMP;
        let flags = if is_list { NLM_F_MULTIPART } else { 0 };
        let mut datagrams: Vec<Vec<u8>> = messages
            .iter()
            .map(|(kind, body)| self.frame(*kind, flags, body))
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

fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// `struct ifinfomsg` and the attributes of a link, in the order of `rtnl_fill_ifinfo`.
fn link(held: &HeldLink, with_vfs: bool) -> Vec<u8> {
    let link = &held.link;
    let (layer, address) = match (link.mac, link.guid) {
        (Some(mac), _) => (ARPHRD_ETHER, mac.bytes().to_vec()),
        // A queue pair number and a subnet prefix, then the GUID.
        (None, Some(guid)) => (
            ARPHRD_INFINIBAND,
            [&[0; 12][..], &guid.number().to_be_bytes()].concat(),
        ),
        (None, None) => (ARPHRD_NONE, Vec::new()),
    };
    let mut flags = if link.is_up { IFF_UP } else { 0 };
    flags |= if link.has_carrier { IFF_LOWER_UP } else { 0 };
    let mut body = vec![0, 0];
    body.extend(layer.to_ne_bytes());
    body.extend(link.index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.resize(IFINFOMSG, 0);
    let mut add = |kind, value: &[u8]| push(&mut body, kind, value);
    let text = |text: &[u8]| [text, &[0]].concat();
    add(IFNAME, &text(link.name.as_bytes()));
    add(MTU, &link.mtu.to_ne_bytes());
    add(ADDRESS, &address);
    for (kind, value) in &held.attributes {
        add(*kind, value);
    }
    if with_vfs && !held.vfs.is_empty() {
        let vfs = held.vfs.iter();
        let list = vfs.map(|(vf, settings)| vf_info(*vf, settings, &held.hidden));
        let list = bytes(&LinkAttribute::VfInfoList(list.collect()));
        add(NESTED | VFINFO_LIST, list.get(4..).unwrap_or_default());
    }
    if !link.altnames.is_empty() {
        let mut list = Vec::new();
        for name in &link.altnames {
            push(&mut list, ALT_IFNAME, &text(name.as_bytes()));
        }
        add(NESTED | PROP_LIST, &list);
    }
    if let Some(mac) = link.permanent_mac {
        add(PERM_ADDRESS, &mac.bytes());
    }
    if let Some(device) = link.device {
        add(PARENT_DEV_NAME, &text(device.to_string().as_bytes()));
    }
    body
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
