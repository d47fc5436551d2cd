//! Addresses and routes of a link.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError};

/// A route over a link; the attributes are those of a CNI 1.1.0 result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; none for a destination on the link.
    pub gw: Option<IpAddr>,
    /// MTU along the route, in bytes.
    pub mtu: Option<u32>,
    /// TCP maximum segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// Priority: the lower is preferred.
    pub priority: Option<u32>,
    /// Routing table, the main one when none is named.
    pub table: Option<u32>,
    /// Scope (`RT_SCOPE_*`, rtnetlink(7)).
    pub scope: Option<u8>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        self.gw.map_or(Ok(()), |gw| write!(f, " via {gw}"))
    }
}

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
        let addresses = answers.into_iter().filter_map(|answer| {
            if let RouteNetlinkMessage::NewAddress(message) = answer {
                Some(message)
            } else {
                None
            }
        });
        let of_link = addresses.filter(|message| message.header.index == link);
        Ok(of_link.filter_map(|message| read(&message)).collect())
    }

    /// The unicast routes of this namespace, of all tables and families.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        let message = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.dump("list the routes", message).await?;
        let routes = answers.into_iter().filter_map(|answer| {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                decode(&message)
            } else {
                None
            }
        });
        Ok(routes.collect())
    }

    /// Adds a route over a link.
    pub async fn add_route(&self, link: u32, route: &Route) -> Result<(), NetlinkError> {
        let operation = format!("add route {route} over link {link}");
        self.change(
            &operation,
            RouteNetlinkMessage::NewRoute(encode(link, route)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .await
    }
}

fn family(address: IpAddr) -> AddressFamily {
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

pub(super) fn read(message: &AddressMessage) -> Option<IpNet> {
    let local = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Local(address) = attribute {
            Some(*address)
        } else {
            None
        }
    });
    let any = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Address(address) = attribute {
            Some(*address)
        } else {
            None
        }
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

pub(super) fn decode(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast {
        return None;
    }
    let unspecified = if header.address_family == AddressFamily::Inet {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else if header.address_family == AddressFamily::Inet6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        return None;
    };
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => None,
    };
    let mut dst = unspecified;
    let mut route = Route {
        dst: IpNet::new(unspecified, 0).ok()?,
        gw: None,
        mtu: None,
        advmss: None,
        priority: None,
        table: Some(header.table.into()),
        scope: Some(header.scope.into()),
    };
    for attribute in &message.attributes {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the kernel tells more of a route than a CNI result does"
        )]
        match attribute {
            RouteAttribute::Destination(found) => dst = address(found)?,
            RouteAttribute::Gateway(found) => route.gw = address(found),
            RouteAttribute::Priority(found) => route.priority = Some(*found),
            RouteAttribute::Table(found) => route.table = Some(*found),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(found) => route.mtu = Some(*found),
                        RouteMetric::Advmss(found) => route.advmss = Some(*found),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    route.dst = IpNet::new(dst, header.destination_prefix_length).ok()?;
    Some(route)
}

pub(super) fn encode(link: u32, route: &Route) -> RouteMessage {
    let Route {
        dst,
        gw,
        mtu,
        advmss,
        priority,
        table,
        scope,
    } = route;
    let mut message = RouteMessage::default();
    let on_link = RouteScope::from(scope.unwrap_or(if gw.is_some() { 0 } else { 253 }));
    message.header = RouteHeader {
        address_family: family(dst.addr()),
        destination_prefix_length: dst.prefix_len(),
        table: table
            .and_then(|table| u8::try_from(table).ok())
            .unwrap_or(if table.is_some() {
                0
            } else {
                RouteHeader::RT_TABLE_MAIN
            }),
        protocol: RouteProtocol::Boot,
        scope: if dst.addr().is_ipv6() {
            RouteScope::Universe
        } else {
            on_link
        },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let unspecified = dst.addr() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        || dst.addr() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if dst.prefix_len() > 0 || !unspecified {
        message
            .attributes
            .push(RouteAttribute::Destination(address(dst.network())));
    }
    message.attributes.push(RouteAttribute::Oif(link));
    message
        .attributes
        .extend(gw.map(|gw| RouteAttribute::Gateway(address(gw))));
    message
        .attributes
        .extend(priority.map(RouteAttribute::Priority));
    message.attributes.extend(table.map(RouteAttribute::Table));
    let metrics: Vec<RouteMetric> = mtu
        .map(RouteMetric::Mtu)
        .into_iter()
        .chain(advmss.map(RouteMetric::Advmss))
        .collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        let bare = |dst: &str, gw: Option<&str>| Route {
            dst: dst.parse().unwrap(),
            gw: gw.map(|gw| gw.parse().unwrap()),
            mtu: None,
            advmss: None,
            priority: None,
            table: Some(254),
            scope: Some(0),
        };
        for route in [
            bare("0.0.0.0/0", Some("192.0.2.1")),
            bare("::/0", Some("fe80::1")),
            Route {
                mtu: Some(1400),
                advmss: Some(1300),
                priority: Some(7),
                table: Some(1000),
                ..bare("198.51.100.0/24", Some("192.0.2.1"))
            },
            Route {
                scope: Some(253),
                ..bare("198.51.100.0/24", None)
            },
        ] {
            assert_eq!(decode(&encode(5, &route)), Some(route));
        }
    }
}
