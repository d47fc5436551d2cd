//! Notifications of the kernel: devices and drivers (uevents), links, default routes and addresses (rtnetlink groups).
//!
//! Two sockets are only read, and messages are parsed just enough to decide whether a scan is necessary; the scan finds the change.
//! No request is ever sent.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::nla::{attribute, number16, number32};

/// Group of the kernel's own uevents; udev's is another (`lib/kobject_uevent.c`).
const UEVENTS: u32 = 1;
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE` (`include/uapi/linux/rtnetlink.h`).
const LINKS_AND_ROUTES: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Longer than a usual message about one device or link; the beginning of a longer message is enough.
const MESSAGE: usize = 16 * 1024;
/// Subsystems whose devices a scan reads.
const SUBSYSTEMS: &[&[u8]] = &[
    b"pci",
    b"net",
    b"infiniband",
    b"infiniband_verbs",
    b"auxiliary",
    b"vdpa",
];

/// Kind of notifications of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Devices,
    Links,
}

/// A socket on which the kernel notifies of changes.
#[derive(Debug)]
pub struct Notices {
    socket: OwnedFd,
    source: Source,
}

impl Notices {
    /// Opens a socket for devices that are added, removed, renamed, bound or unbound.
    pub fn of_devices() -> io::Result<Self> {
        Self::open(Source::Devices, SockProtocol::NetlinkKObjectUEvent, UEVENTS)
    }

    /// Opens a socket for links of this network namespace that change their name, state or carrier, for default routes, and for addresses.
    pub fn of_links() -> io::Result<Self> {
        Self::open(Source::Links, SockProtocol::NetlinkRoute, LINKS_AND_ROUTES)
    }

    fn open(source: Source, protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket, source })
    }

    /// Sleeps until a message may have changed what a scan finds.
    pub fn wait(&self) -> io::Result<()> {
        while !self.take(MsgFlags::empty())? {}
        Ok(())
    }

    /// Takes one message; returns whether it may change the result of a scan.
    fn take(&self, flags: MsgFlags) -> io::Result<bool> {
        let mut message = [0; MESSAGE];
        match recv(self.socket.as_raw_fd(), &mut message, flags) {
            Ok(length) => {
                let message = message.get(..length).unwrap_or(&message);
                Ok(match self.source {
                    Source::Devices => is_of_device(message),
                    Source::Links => is_of_link(message),
                })
            }
            // Messages were lost: anything may have changed.
            Err(Errno::ENOBUFS) => Ok(true),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// `ACTION@DEVPATH`, then `KEY=VALUE`, each with a zero behind it; virtual devices are interfaces of pods and similar ones.
fn is_of_device(message: &[u8]) -> bool {
    let mut subsystem = None;
    for field in message.split(|byte| *byte == 0) {
        if field.starts_with(b"DEVPATH=/devices/virtual/") {
            return false;
        }
        subsystem = subsystem.or_else(|| field.strip_prefix(b"SUBSYSTEM="));
    }
    subsystem.is_some_and(|subsystem| SUBSYSTEMS.contains(&subsystem))
}

/// One or more `nlmsghdr`, each with `ifinfomsg`, `ifaddrmsg` or `rtmsg` and attributes.
fn is_of_link(mut messages: &[u8]) -> bool {
    const NEWLINK: u16 = 16;
    const DELLINK: u16 = 17;
    const NEWADDR: u16 = 20;
    const DELADDR: u16 = 21;
    /// `RT_SCOPE_LINK`: each interface of a pod gets an address of IPv6 of this scope.
    const SCOPE_LINK: u8 = 253;
    const NEWROUTE: u16 = 24;
    const DELROUTE: u16 = 25;
    while let (Some(length), Some(kind)) = (number32(messages, 0), number16(messages, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let body = messages.get(16..length.min(messages.len())).unwrap_or(&[]);
        let matters = match kind {
            NEWLINK | DELLINK => body.get(16..).is_some_and(is_of_hardware),
            // `ifa_scope`.
            NEWADDR | DELADDR => body.get(3).is_some_and(|scope| *scope < SCOPE_LINK),
            // `rtm_dst_len`.
            NEWROUTE | DELROUTE => body.get(1) == Some(&0),
            _ => false,
        };
        if matters {
            return true;
        }
        messages = messages
            .get(length.max(16).next_multiple_of(4)..)
            .unwrap_or(&[]);
    }
    false
}

/// Links that are made on demand have a kind (`IFLA_INFO_KIND` in `IFLA_LINKINFO`); those of hardware do not.
fn is_of_hardware(attributes: &[u8]) -> bool {
    const LINKINFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    let info = attribute(attributes, LINKINFO);
    info.and_then(|info| attribute(info, INFO_KIND)).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uevents_of_hardware_count() {
        for (message, expected) in [
            (
                "add@/devices/pci0000:20/0000:20:00.0/0000:21:10.0\0ACTION=add\0DEVPATH=/devices/pci0000:20/0000:20:00.0/0000:21:10.0\0SUBSYSTEM=pci\0SEQNUM=1\0",
                true,
            ),
            (
                "move@/devices/pci0000:20/0000:21:10.0/net/a\0DEVPATH=/devices/pci0000:20/0000:21:10.0/net/a\0SUBSYSTEM=net\0",
                true,
            ),
            (
                "add@/devices/virtual/net/veth1\0DEVPATH=/devices/virtual/net/veth1\0SUBSYSTEM=net\0",
                false,
            ),
            (
                "change@/devices/pci0000:00/0000:00:02.0/block/vda\0DEVPATH=/devices/pci0000:00/0000:00:02.0/block/vda\0SUBSYSTEM=block\0",
                false,
            ),
            ("libudev\0", false),
            ("", false),
        ] {
            assert_eq!(is_of_device(message.as_bytes()), expected, "{message:?}");
        }
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = [
            length.to_ne_bytes().as_slice(),
            &kind.to_ne_bytes(),
            &[0; 10],
            body,
        ]
        .concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn nested(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + body.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes(), kind.to_ne_bytes().as_slice(), body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn links_of_hardware_default_routes_and_addresses_count() {
        let link = |attributes: &[u8]| message(16, &[&[0; 16], attributes].concat());
        let veth = link(&[nested(3, b"veth1\0"), nested(18, &nested(1, b"veth\0"))].concat());
        // A port of a bond has the kind of its bond, and is hardware.
        let port = link(&[nested(3, b"pf0\0"), nested(0x8012, &nested(4, b"bond\0"))].concat());
        let route = |length: u8| message(24, &[2, length, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        let address = |scope: u8| message(20, &[10, 64, 0, scope, 7, 0, 0, 0]);
        // A neighbour.
        let other = message(28, &[0; 12]);
        for (message, expected) in [
            (&port, true),
            (&route(0), true),
            (&address(0), true),
            (&veth, false),
            (&route(24), false),
            (&address(253), false),
            (&other, false),
            (&[veth.clone(), route(24), port.clone()].concat(), true),
        ] {
            assert_eq!(is_of_link(message), expected, "{message:?}");
        }
    }

    #[test]
    fn kernel_accepts_both_sockets() {
        for notices in [Notices::of_devices().unwrap(), Notices::of_links().unwrap()] {
            let waiting = notices
                .take(MsgFlags::MSG_DONTWAIT)
                .map_err(|error| error.kind());
            assert!(matches!(waiting, Ok(_) | Err(io::ErrorKind::WouldBlock)));
        }
    }

    proptest! {
        #[test]
        fn any_message_is_handled_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (is_of_device(&bytes), is_of_link(&bytes));
        }
    }
}
