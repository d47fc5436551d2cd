//! Questions to the kernel whose answers sysfs does not have: who has an alternative name, who carries a default route (rtnetlink),
//! what went through the VFs of a PF (`counters`), which DDP profile runs (`devlink`).
//!
//! Each is one request on a socket of its own, and nothing waits: the kernel has the answer ready when the request returns.
//! What changes something is `netlink`'s.

mod counters;
mod devlink;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

pub use self::counters::{VfCounters, vf_counters};
pub use self::devlink::ddp_profile;
use crate::notice::{attribute, number16, number32};

// include/uapi/linux/netlink.h, rtnetlink.h, if_link.h
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const GET_LINK: u16 = 18;
const GET_ROUTE: u16 = 26;
const EXT_MASK: u16 = 29;
const ALT_IFNAME: u16 = 53;
const SKIP_STATS: u32 = 1 << 3;
const HEADER: usize = 16;
/// Longer than any datagram: of a list the kernel makes 32 KiB at most (`net/netlink/af_netlink.c`, `netlink_dump`), of a link's VFs 64 KiB.
const DATAGRAM: usize = 128 * 1024;
/// Tries of a list that changes while it is told.
const TRIES: usize = 5;

/// Interface index of the link with this name or alternative name; nothing when there is none.
///
/// # Errors
/// When the kernel refuses to answer: one before Linux 5.5 knows no alternative names.
pub fn link_named(name: &str) -> io::Result<Option<u32>> {
    let mut body = vec![0; 16];
    push(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    push(&mut body, ALT_IFNAME, &[name.as_bytes(), &[0]].concat());
    match ask(GET_LINK, 0, &body) {
        Ok(answers) => Ok(answers.first().and_then(|link| number32(link, 4))),
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names of the links over which a default route of IPv4 or IPv6 goes, in whatever table it is.
///
/// # Errors
/// When the kernel refuses to answer.
pub fn default_route_links() -> io::Result<BTreeSet<String>> {
    let mut tries = 0;
    let routes = loop {
        match ask(GET_ROUTE, DUMP, &[0; 12]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && tries < TRIES => tries += 1,
            answer => break answer?,
        }
    };
    let indices: BTreeSet<u32> = routes
        .iter()
        .flat_map(|route| of_default_route(route))
        .collect();
    // A link that went meanwhile carries nothing.
    let names = indices.into_iter().flat_map(if_indextoname);
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

/// The links of `rtmsg` and its attributes, when it is a unicast route to everywhere.
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

/// Attributes one after the other.
fn each(mut attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const NESTED: u16 = 0x8000;
    std::iter::from_fn(move || {
        let (length, kind) = (number16(attributes, 0)?, number16(attributes, 2)?);
        let length = usize::from(length).max(4);
        let value = attributes.get(4..length)?;
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((kind & !NESTED, value))
    })
}

fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Sends one request to rtnetlink.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    ask_over(SockProtocol::NetlinkRoute, kind, flags, body)
}

/// Sends one request; gives the bodies of the messages that answer it.
fn ask_over(
    protocol: SockProtocol,
    kind: u16,
    flags: u16,
    body: &[u8],
) -> io::Result<Vec<Vec<u8>>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        protocol,
    )?;
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let request = [
        length.to_ne_bytes().as_slice(),
        &kind.to_ne_bytes(),
        &(REQUEST | flags).to_ne_bytes(),
        // Sequence number and port: nobody else uses this socket.
        &[0; 8],
        body,
    ]
    .concat();
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answers = Vec::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
        let is_last = take(datagram.get(..length).unwrap_or(&datagram), &mut answers)?;
        if is_last || flags & DUMP == 0 {
            return Ok(answers);
        }
    }
}

/// Takes the messages of a datagram; whether the list is over.
fn take(mut messages: &[u8], answers: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    while let (Some(length), Some(kind), Some(flags)) = (
        number32(messages, 0),
        number16(messages, 4),
        number16(messages, 6),
    ) {
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER);
        let body = messages
            .get(HEADER..length.min(messages.len()))
            .unwrap_or_default();
        if flags & DUMP_INTERRUPTED != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            // Both begin with an errno, negative; 0 is an acknowledgement.
            ERROR | DONE => {
                let code = number32(body, 0).map_or(0, u32::cast_signed);
                return if code < 0 {
                    Err(io::Error::from_raw_os_error(code.saturating_neg()))
                } else {
                    Ok(true)
                };
            }
            _ => answers.push(body.to_vec()),
        }
        messages = messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        [
            length.to_ne_bytes().as_slice(),
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &[0; 8],
            body,
        ]
        .concat()
    }

    /// `rtmsg` with one attribute.
    fn route(family: u8, length: u8, table: u8, kind: u8, attribute: (u16, &[u8])) -> Vec<u8> {
        let mut route = vec![family, length, 0, 0, table, 3, 0, kind, 0, 0, 0, 0];
        push(&mut route, attribute.0, attribute.1);
        route
    }

    #[test]
    fn default_routes_of_every_table_and_both_families_count() {
        let link = (4, [7, 0, 0, 0].as_slice());
        let hops: Vec<u8> = [[8, 0, 0, 0, 3, 0, 0, 0], [8, 0, 0, 0, 4, 0, 0, 0]].concat();
        for (route, expected) in [
            (route(2, 0, 254, 1, link), vec![7]),
            (route(2, 0, 100, 1, link), vec![7]),
            (route(10, 0, 254, 1, link), vec![7]),
            (route(2, 0, 254, 1, (9, &hops)), vec![3, 4]),
            // To somewhere; unreachable; multicast routing.
            (route(2, 24, 254, 1, link), vec![]),
            (route(10, 0, 254, 7, link), vec![]),
            (route(128, 0, 254, 1, link), vec![]),
        ] {
            assert_eq!(of_default_route(&route), expected, "{route:?}");
        }
    }

    #[test]
    fn a_list_ends_is_refused_or_has_to_be_asked_for_again() {
        let mut answers = Vec::new();
        let both = [message(24, 2, b"abcd"), message(24, 2, b"efgh")].concat();
        assert!(!take(&both, &mut answers).unwrap());
        assert!(take(&message(DONE, 2, &[0; 4]), &mut answers).unwrap());
        assert_eq!(answers, [b"abcd", b"efgh"]);
        let refused = message(ERROR, 0, &(-19_i32).to_ne_bytes());
        let error = take(&refused, &mut answers).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(19));
        let torn = message(24, 2 | DUMP_INTERRUPTED, b"abcd");
        let error = take(&torn, &mut answers).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn the_kernel_answers() {
        let loopback = if_indextoname(1).unwrap();
        assert_eq!(link_named(loopback.to_str().unwrap()).unwrap(), Some(1));
        assert_eq!(link_named("no such link").unwrap(), None);
        default_route_links().unwrap();
    }

    proptest! {
        #[test]
        fn no_answer_is_too_ugly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (of_default_route(&bytes), take(&bytes, &mut Vec::new()));
        }
    }
}
