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
pub(super) fn rtnetlink(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    over(SockProtocol::NetlinkRoute, kind, flags, body)
}

/// Requests a list from rtnetlink, again if it changes while the kernel writes it.
pub(super) fn rtnetlink_list(kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        match rtnetlink(kind, DUMP, body) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && tries < TRIES => tries += 1,
            answer => return answer,
        }
    }
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

/// Sends one request and returns the bodies of the messages that answer it.
pub(super) fn over(
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
        // Sequence number and port: this socket has no other user.
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

/// Takes the messages of a datagram; returns whether the list is complete.
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

    #[test]
    fn list_is_complete_refused_or_interrupted() {
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

    proptest! {
        #[test]
        fn any_datagram_is_taken_without_panic(bytes: Vec<u8>) {
            let _ = take(&bytes, &mut Vec::new());
        }
    }
}
