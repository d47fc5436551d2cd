//! Addresses of a link.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::connection::Netlink;
use super::error::NetlinkError;
use crate::nla::{attribute, number32};

// include/uapi/linux/rtnetlink.h, if_addr.h
const RTM_NEWADDR: u16 = 20;
/// Length of `struct ifaddrmsg`.
const HEADER: usize = 8;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;

impl Netlink {
    /// Adds an address to a link.
    pub async fn add_address(&self, link: u32, address: IpNet) -> Result<(), NetlinkError> {
        let message = encode_address(link, address);
        let operation = format!("add address {address} to link {link}");
        self.change(
            &operation,
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .await
    }

    /// The addresses of a link.
    pub async fn addresses(&self, link: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("list the addresses", message).await?;
        let bodies = answers
            .into_iter()
            .filter_map(|answer| answer.into_body(RTM_NEWADDR));
        let all = bodies.filter_map(|body| read(&body));
        let of_link = all.filter(|(index, _)| *index == link);
        Ok(of_link.map(|(_, address)| address).collect())
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

pub(super) fn encode_address(link: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = address.prefix_len();
    message.header.family = family(address.addr());
    message
        .attributes
        .push(AddressAttribute::Address(address.addr()));
    message
        .attributes
        .push(AddressAttribute::Local(address.addr()));
    if let IpNet::V4(v4) = address
        && v4.prefix_len() < 31
    {
        message
            .attributes
            .push(AddressAttribute::Broadcast(v4.broadcast()));
    }
    message
}

/// Reads the link and the address of an `RTM_NEWADDR` message; the label in it may be any bytes.
pub(super) fn read(body: &[u8]) -> Option<(u32, IpNet)> {
    let attributes = body.get(HEADER..)?;
    let of = |kind| attribute(attributes, kind).and_then(ip);
    let address = of(LOCAL).or_else(|| of(ADDRESS))?;
    Some((number32(body, 4)?, IpNet::new(address, *body.get(1)?).ok()?))
}

/// An address of IPv4 or IPv6, by its length.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
