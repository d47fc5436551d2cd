//! Neighbours of a link: the kernel's table of other stations on the segment.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::addresses::ip;
use super::connection::Netlink;
use super::error::NetlinkError;
use crate::nla::{attribute, number32};

// include/uapi/linux/rtnetlink.h, neighbour.h
const RTM_NEWNEIGH: u16 = 28;
/// Length of `struct ndmsg`.
const HEADER: usize = 12;
const NDA_DST: u16 = 1;

impl Netlink {
    /// Reads the neighbours of a link, both families.
    pub async fn neighbours(&self, link: u32) -> Result<Vec<IpAddr>, NetlinkError> {
        let mut message = NeighbourMessage::default();
        // The kernel leaves out those of other links (`neigh_dump_info`, net/core/neighbour.c).
        message.attributes.push(NeighbourAttribute::IfIndex(link));
        let message = RouteNetlinkMessage::GetNeighbour(message);
        let answers = self.dump("list the neighbours", message).await?;
        let bodies = answers
            .into_iter()
            .filter_map(|answer| answer.into_body(RTM_NEWNEIGH));
        let all = bodies.filter_map(|body| read(&body));
        let of_link = all.filter(|(index, _)| *index == link);
        Ok(of_link.map(|(_, address)| address).collect())
    }

    /// Makes the kernel resolve an IPv4 address through a link: it broadcasts an ARP request now, and again after one and two seconds if no answer arrives.
    ///
    /// A request for an address of the link itself is an announcement of that address (RFC 5227, section 3).
    /// Its sender is the first address of the link whose subnet has the resolved address (net/ipv4/arp.c, `arp_solicit`).
    pub async fn resolve(&self, link: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link;
        message.header.flags = NeighbourFlags::Use;
        message
            .attributes
            .push(NeighbourAttribute::Destination(address.into()));
        let operation = format!("resolve {address} through link {link}");
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.change(&operation, message, NLM_F_CREATE).await
    }
}

/// Reads the link and the address of an `RTM_NEWNEIGH` message.
pub(super) fn read(body: &[u8]) -> Option<(u32, IpAddr)> {
    let address = attribute(body.get(HEADER..)?, NDA_DST)?;
    Some((number32(body, 4)?, ip(address)?))
}
