//! Queries about links: which link has an alternative name, which carry a default route, and which are parents of macvlan and ipvlan devices.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::errno::Errno;

use super::request::{linked_names, rtnetlink, rtnetlink_list};
use crate::nla::{attribute, attributes, number16, number32, push};

// include/uapi/linux/rtnetlink.h, if_link.h
const GET_LINK: u16 = 18;
const GET_ROUTE: u16 = 26;
const EXT_MASK: u16 = 29;
const IFNAME: u16 = 3;
const PROP_LIST: u16 = 52;
const ALT_IFNAME: u16 = 53;
const SKIP_STATS: u32 = 1 << 3;
const LINK: u16 = 5;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const LINK_NETNS: u16 = 37;
/// `ifinfomsg`.
const LINK_HEADER: usize = 16;
/// Kinds of links that share the address or the traffic of the link below them.
const SHARING: [&str; 4] = ["macvlan", "macvtap", "ipvlan", "ipvtap"];

/// Interface index of the link with this name or alternative name; `None` if there is no such link.
///
/// # Errors
/// When the kernel refuses to answer: before Linux 5.5 there are no alternative names.
pub fn link_named(name: &str) -> io::Result<Option<u32>> {
    let mut body = vec![0; 16];
    push(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    push(&mut body, ALT_IFNAME, &[name.as_bytes(), &[0]].concat());
    match rtnetlink(GET_LINK, &body) {
        Ok(answers) => Ok(answers.first().and_then(|link| number32(link, 4))),
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All alternative names, each with the name of its link before it.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn altnames() -> io::Result<Vec<(String, String)>> {
    let mut body = vec![0; LINK_HEADER];
    push(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    let links = rtnetlink_list(GET_LINK, &body)?;
    Ok(links.iter().flat_map(|link| altnames_of(link)).collect())
}

/// The alternative names of a link (`ifinfomsg` and its attributes) that are text.
fn altnames_of(link: &[u8]) -> Vec<(String, String)> {
    let own = link.get(LINK_HEADER..).unwrap_or_default();
    let text = |bytes: &[u8]| {
        let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        str::from_utf8(text).ok().map(str::to_owned)
    };
    let Some(name) = attribute(own, IFNAME).and_then(text) else {
        return Vec::new();
    };
    let names = attributes(attribute(own, PROP_LIST).unwrap_or_default());
    let names = names.filter(|(kind, _)| *kind == ALT_IFNAME);
    names
        .filter_map(|(_, altname)| Some((name.clone(), text(altname)?)))
        .collect()
}

/// Names of the links with a default route of IPv4 or IPv6, in any table.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn default_route_links() -> io::Result<BTreeSet<String>> {
    let routes = rtnetlink_list(GET_ROUTE, &[0; 12])?;
    let links = routes.iter().flat_map(|route| of_default_route(route));
    Ok(linked_names(links.collect()))
}

/// Parents of macvlan and ipvlan devices, each with one such device; only those of which both are in this network namespace.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn shared_parents() -> io::Result<BTreeMap<String, String>> {
    let mut parents = BTreeMap::new();
    for kind in SHARING {
        for link in rtnetlink_list(GET_LINK, &of_kind(kind))? {
            let Some((parent, child)) = parent_and_child(&link, kind) else {
                continue;
            };
            let name = |index| linked_names([index].into()).pop_first();
            parents.extend(name(parent).zip(name(child)));
        }
    }
    Ok(parents)
}

/// A request for the links of a kind. Before Linux 4.6 the kernel answers with all links.
fn of_kind(kind: &str) -> Vec<u8> {
    let (mut body, mut info) = (vec![0; 16], Vec::new());
    push(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    push(&mut info, INFO_KIND, kind.as_bytes());
    push(&mut body, LINK_INFO, &info);
    body
}

/// Indices of the link below a link, and of the link itself, if it is of a kind and the other one is in this network namespace.
fn parent_and_child(link: &[u8], kind: &str) -> Option<(u32, u32)> {
    let attributes = link.get(16..)?;
    let found = attribute(attribute(attributes, LINK_INFO)?, INFO_KIND)?;
    let is_of_kind = found.strip_suffix(&[0]).unwrap_or(found) == kind.as_bytes();
    let is_here = attribute(attributes, LINK_NETNS).is_none();
    let parent = attribute(attributes, LINK).and_then(|index| number32(index, 0))?;
    (is_of_kind && is_here).then_some((parent, number32(link, 4)?))
}

/// The links of a route (`rtmsg` and its attributes), if it is a unicast default route.
fn of_default_route(route: &[u8]) -> Vec<u32> {
    /// `AF_INET`, `AF_INET6`.
    const IP: [u8; 2] = [2, 10];
    const UNICAST: u8 = 1;
    const OUT_LINK: u16 = 4;
    const MULTIPATH: u16 = 9;
    // `rtm_family`, `rtm_dst_len`, `rtm_type`.
    let (Some([family, length, ..]), Some(kind)) = (route.first_chunk::<2>(), route.get(7)) else {
        return Vec::new();
    };
    if !IP.contains(family) || *length != 0 || *kind != UNICAST {
        return Vec::new();
    }
    let attributes = route.get(12..).unwrap_or_default();
    let mut links = Vec::new();
    links.extend(attribute(attributes, OUT_LINK).and_then(|index| number32(index, 0)));
    // `rtnexthop`: its length, flags, hops, and the index of its link.
    let mut hops = attribute(attributes, MULTIPATH).unwrap_or_default();
    while let (Some(length), Some(index)) = (number16(hops, 0), number32(hops, 4)) {
        links.push(index);
        let length = usize::from(length).max(8).next_multiple_of(4);
        hops = hops.get(length..).unwrap_or_default();
    }
    links
}

#[cfg(test)]
mod tests {
    use nix::net::if_::if_indextoname;
    use proptest::prelude::*;

    use super::*;

    /// `rtmsg` with one attribute.
    fn route(family: u8, length: u8, table: u8, kind: u8, attribute: (u16, &[u8])) -> Vec<u8> {
        let mut route = vec![family, length, 0, 0, table, 3, 0, kind, 0, 0, 0, 0];
        push(&mut route, attribute.0, attribute.1);
        route
    }

    #[test]
    fn default_routes_of_all_tables_and_families_count() {
        let link = (4, [7, 0, 0, 0].as_slice());
        let hops: Vec<u8> = [[8, 0, 0, 0, 3, 0, 0, 0], [8, 0, 0, 0, 4, 0, 0, 0]].concat();
        for (route, expected) in [
            (route(2, 0, 254, 1, link), vec![7]),
            (route(2, 0, 100, 1, link), vec![7]),
            (route(10, 0, 254, 1, link), vec![7]),
            (route(2, 0, 254, 1, (9, &hops)), vec![3, 4]),
            // A route to a subnet; an unreachable one; multicast routing.
            (route(2, 24, 254, 1, link), vec![]),
            (route(10, 0, 254, 7, link), vec![]),
            (route(128, 0, 254, 1, link), vec![]),
        ] {
            assert_eq!(of_default_route(&route), expected, "{route:?}");
        }
    }

    #[test]
    fn alternative_names_of_a_link_are_listed_with_its_name() {
        let mut list = Vec::new();
        push(&mut list, ALT_IFNAME, b"enp59s0f0np0\0");
        push(&mut list, ALT_IFNAME, &[0xff, 0]);
        push(&mut list, ALT_IFNAME, b"a long name of the port\0");
        let mut link = vec![0; LINK_HEADER];
        push(&mut link, IFNAME, b"eth0\0");
        assert_eq!(altnames_of(&link), []);
        // `NLA_F_NESTED`.
        push(&mut link, PROP_LIST | 0x8000, &list);
        let expected = ["enp59s0f0np0", "a long name of the port"];
        let expected = expected.map(|name| ("eth0".to_owned(), name.to_owned()));
        assert_eq!(altnames_of(&link), expected);
    }

    #[test]
    fn real_kernel_answers() {
        altnames().unwrap();
        let loopback = if_indextoname(1).unwrap();
        assert_eq!(link_named(loopback.to_str().unwrap()).unwrap(), Some(1));
        assert_eq!(link_named("no such link").unwrap(), None);
        default_route_links().unwrap();
        shared_parents().unwrap();
    }

    #[test]
    fn parent_of_a_sharing_link_is_found_in_this_namespace_only() {
        let link = |kind: &str, netns: Option<u32>| {
            let (mut link, mut info) = (vec![0; 16], Vec::new());
            link[4] = 9;
            push(&mut link, 3, b"up0\0");
            push(&mut link, LINK, &7_u32.to_ne_bytes());
            push(&mut info, INFO_KIND, &[kind.as_bytes(), &[0]].concat());
            push(&mut link, LINK_INFO, &info);
            if let Some(netns) = netns {
                push(&mut link, LINK_NETNS, &netns.to_ne_bytes());
            }
            link
        };
        for (kind, netns, expected) in [
            ("macvlan", None, Some((7, 9))),
            ("vlan", None, None),
            ("macvlan", Some(0), None),
        ] {
            let found = parent_and_child(&link(kind, netns), "macvlan");
            assert_eq!(found, expected, "{kind} {netns:?}");
        }
        // The kernel filters by this attribute.
        let request = of_kind("ipvlan");
        let info = attribute(&request[16..], LINK_INFO).unwrap();
        assert_eq!(attribute(info, INFO_KIND), Some(b"ipvlan".as_slice()));
    }

    proptest! {
        #[test]
        fn any_route_is_read_without_panic(bytes: Vec<u8>) {
            let _ = of_default_route(&bytes);
            let _ = parent_and_child(&bytes, "macvlan");
            let _ = altnames_of(&bytes);
        }
    }
}
