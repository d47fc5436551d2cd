//! One request to the kernel on a socket of its own, and the bodies of the messages that answer it.
//!
//! No call blocks: the kernel has the answer ready when the request returns.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;

use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::ifname::IfName;
use crate::nla::{number16, number32};

// include/uapi/linux/netlink.h
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// Longer than any datagram: the kernel makes a list of 32 KiB at most (`net/netlink/af_netlink.c`, `netlink_dump`), of a PF's VFs 64 KiB.
const DATAGRAM: usize = 128 * 1024;

/// Sends one request to rtnetlink.
pub(super) fn rtnetlink(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    Ok(over(SockProtocol::NetlinkRoute, kind, 0, body)?.bodies)
}

/// Requests a list from rtnetlink, again if it changes while the kernel writes it.
pub(super) fn rtnetlink_list(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    const TRIES: usize = 6;
    for _ in 0..TRIES {
        let answer = over(SockProtocol::NetlinkRoute, kind, DUMP, body)?;
        if !answer.is_interrupted {
            return Ok(answer.bodies);
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Requests a list from rtnetlink of which each part is of use alone: if it changes meanwhile, parts of it may be missing.
pub(super) fn rtnetlink_parts(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    Ok(over(SockProtocol::NetlinkRoute, kind, DUMP, body)?.bodies)
}

/// Names of links by their index, or stand-ins for names that are not text; without links that were removed meanwhile.
pub(super) fn linked_names(indices: BTreeSet<u32>) -> BTreeSet<String> {
    let names = indices.into_iter().filter_map(|index| {
        let name = if_indextoname(index).ok()?;
        let name = name.to_str().map(str::to_owned);
        Some(name.unwrap_or_else(|_not_text| IfName::stand_in(index).to_string()))
    });
    names.collect()
}

/// The messages that answer a request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Their bodies.
    pub(super) bodies: Vec<Vec<u8>>,
    /// Whether the list changed while the kernel wrote it.
    is_interrupted: bool,
}

/// Sends one request and returns its answer.
pub(super) fn over(
    protocol: SockProtocol,
    kind: u16,
    flags: u16,
    body: &[u8],
) -> io::Result<Answer> {
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
        // Sequence number and port: this socket has no other user.
        &[0; 8],
        body,
    ]
    .concat();
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = Answer::default();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
        let is_last = take(datagram.get(..length).unwrap_or(&datagram), &mut answer)?;
        if is_last || flags & DUMP == 0 {
            return Ok(answer);
        }
    }
}

/// Takes the messages of a datagram; returns whether the list is complete.
fn take(mut messages: &[u8], answer: &mut Answer) -> io::Result<bool> {
    while let (Some(length), Some(kind), Some(flags)) = (
        number32(messages, 0),
        number16(messages, 4),
        number16(messages, 6),
    ) {
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER);
        let body = messages
            .get(HEADER..length.min(messages.len()))
            .unwrap_or_default();
        answer.is_interrupted |= flags & DUMP_INTERRUPTED != 0;
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
            _ => answer.bodies.push(body.to_vec()),
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

    #[test]
    fn list_is_complete_refused_or_interrupted() {
        let mut answer = Answer::default();
        let both = [message(24, 2, b"abcd"), message(24, 2, b"efgh")].concat();
        assert!(!take(&both, &mut answer).unwrap());
        assert!(take(&message(DONE, 2, &[0; 4]), &mut answer).unwrap());
        assert_eq!(answer.bodies, [b"abcd", b"efgh"]);
        let refused = message(ERROR, 0, &(-19_i32).to_ne_bytes());
        let error = take(&refused, &mut answer).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(19));
        assert!(!answer.is_interrupted);
        let torn = message(24, 2 | DUMP_INTERRUPTED, b"ijkl");
        assert!(!take(&torn, &mut answer).unwrap());
        assert!(answer.is_interrupted);
        assert_eq!(answer.bodies.len(), 3);
    }

    proptest! {
        #[test]
        fn any_datagram_is_taken_without_panic(bytes: Vec<u8>) {
            let _ = take(&bytes, &mut Answer::default());
        }
    }
}
