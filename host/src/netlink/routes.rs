//! Routes over a link.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use nix::errno::Errno;

use super::addresses::{family, ip};
use super::connection::Netlink;
use super::error::NetlinkError;
use crate::nla::{attribute, attributes, number32};

// include/uapi/linux/rtnetlink.h
const RTM_NEWROUTE: u16 = 24;
/// Length of `struct rtmsg`.
const HEADER: usize = 12;
const UNICAST: u8 = 1;
const DST: u16 = 1;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const METRICS: u16 = 8;
const TABLE: u16 = 15;
const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;

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
    /// The unicast routes of this namespace, of all tables and families.
    pub async fn routes(&self) -> Result<Vec<Route>, NetlinkError> {
        let message = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.dump("list the routes", message).await?;
        let bodies = answers
            .into_iter()
            .filter_map(|answer| answer.into_body(RTM_NEWROUTE));
        Ok(bodies.filter_map(|body| read(&body)).collect())
    }

    /// Adds a route over a link, next to other routes to the same destination; an identical route counts as success.
    ///
    /// Without `NLM_F_EXCL` the kernel refuses only an identical route: it puts an IPv4 route before the others of the same priority
    /// (`fib_table_insert`, `net/ipv4/fib_trie.c`), and makes an IPv6 route with a gateway their sibling (`fib6_add_rt2node`, `net/ipv6/ip6_fib.c`).
    pub async fn add_route(&self, link: u32, route: &Route) -> Result<(), NetlinkError> {
        let operation = format!("add route {route} over link {link}");
        let message = RouteNetlinkMessage::NewRoute(encode(link, route));
        match self.change(&operation, message, NLM_F_CREATE).await {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            done => done,
        }
    }
}

/// Reads a unicast route of IPv4 or IPv6 from an `RTM_NEWROUTE` message.
pub(super) fn read(body: &[u8]) -> Option<Route> {
    let (header, rest) = body.split_first_chunk::<HEADER>()?;
    let [family, prefix, _, _, table, _, scope, kind, ..] = *header;
    if kind != UNICAST {
        return None;
    }
    let unspecified = match family {
        2 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        10 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route {
        dst: IpNet::new(unspecified, prefix).ok()?,
        gw: None,
        mtu: None,
        advmss: None,
        priority: None,
        table: Some(table.into()),
        scope: Some(scope),
    };
    for (kind, value) in attributes(rest) {
        match kind {
            DST => route.dst = IpNet::new(ip(value)?, prefix).ok()?,
            GATEWAY => route.gw = ip(value),
            PRIORITY => route.priority = number32(value, 0),
            TABLE => route.table = number32(value, 0),
            METRICS => {
                let metric = |kind| attribute(value, kind).and_then(|value| number32(value, 0));
                route.mtu = metric(METRIC_MTU);
                route.advmss = metric(METRIC_ADVMSS);
            }
            _ => {}
        }
    }
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
    use netlink_packet_core::Emitable;

    use super::*;

    #[test]
    fn route_is_read_as_it_was_written() {
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
            let message = encode(5, &route);
            let mut body = vec![0; message.buffer_len()];
            message.emit(&mut body);
            assert_eq!(read(&body), Some(route));
        }
    }
}
