//! The encoding of the kernel in memory: frames, acknowledgements, and answers as the kernel encodes them.

use std::net::IpAddr;
use std::ops::Range;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTIPART,
    NLMSG_DONE, NLMSG_ERROR,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::tc::{TcAttribute, TcMessage};
use nix::errno::Errno;

use super::emit::bytes;
use super::state::Answer;
use super::{Failure, FakeKernel, ifinfo};
use crate::link::Qdisc;
use crate::netlink::{addresses, routes};

// struct nlmsghdr, include/uapi/linux/netlink.h.
const HEADER: usize = 16;
const KIND: Range<usize> = 4..6;
const FLAGS: Range<usize> = 6..8;
const SEQUENCE: Range<usize> = 8..12;
// include/uapi/linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWQDISC: u16 = 36;
/// A request to be answered; a capped acknowledgement repeats its header.
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
                Some("the kernel in memory has no such request"),
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
                .map(|held| (RTM_NEWLINK, ifinfo::encode(held, *with_vfs)))
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
            Answer::Neighbours(list) => list
                .iter()
                .map(|(link, address)| (RTM_NEWNEIGH, neighbour(*link, *address)))
                .collect(),
            Answer::Qdiscs(list) => list
                .iter()
                .map(|(link, discipline)| (RTM_NEWQDISC, qdisc(*link, discipline)))
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

/// `struct ndmsg` and the address.
fn neighbour(link: u32, address: IpAddr) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = link;
    message
        .attributes
        .push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
    bytes(&message)
}

/// `struct tcmsg` and the kind.
fn qdisc(link: u32, qdisc: &Qdisc) -> Vec<u8> {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(link).unwrap_or_default();
    message.header.handle = (u32::from(qdisc.is_explicit) << 16).into();
    message.header.parent = qdisc.place.parent().into();
    message
        .attributes
        .push(TcAttribute::Kind(qdisc.kind.to_string()));
    bytes(&message)
}
