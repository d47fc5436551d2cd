//! Announces an IPv4 address to the segment of one link, and to no other.
//!
//! For IPv6 nothing is necessary: with `ndisc_notify` the kernel itself sends the unsolicited neighbour advertisement
//! through the link of the address, when duplicate address detection has ended (net/ipv6/addrconf.c, `addrconf_dad_completed`).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use nix::libc::{AF_PACKET, ETH_P_ARP, sockaddr_ll, socklen_t};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};

use crate::mac::MacAddr;

/// A packet socket of one network namespace; it receives nothing.
#[derive(Debug)]
pub struct Announcer(OwnedFd);

impl Announcer {
    /// Opens the socket in the namespace of the calling thread, where it stays; it needs `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        // Protocol 0: packet(7), nothing is received.
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        Ok(Self(socket))
    }

    /// Sends one gratuitous ARP request (RFC 5227, section 3: "ARP announcement") through the link.
    pub fn arp(&self, link: u32, mac: MacAddr, address: Ipv4Addr) -> io::Result<()> {
        sendto(
            self.0.as_raw_fd(),
            &arp_announcement(mac, address),
            &broadcast(link)?,
            MsgFlags::empty(),
        )?;
        Ok(())
    }
}

/// Ethernet and IPv4, request, sender and target address the same (RFC 826).
fn arp_announcement(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend(mac.bytes());
    packet.extend(address.octets());
    packet.extend([0; 6]);
    packet.extend(address.octets());
    packet
}

/// The broadcast address behind one link, for ARP.
fn broadcast(link: u32) -> io::Result<LinkAddr> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let number = |result: Option<u16>| result.ok_or_else(invalid);
    let address = sockaddr_ll {
        sll_family: number(u16::try_from(AF_PACKET).ok())?,
        sll_protocol: number(u16::try_from(ETH_P_ARP).ok())?.to_be(),
        sll_ifindex: i32::try_from(link).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    };
    let length = socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    #[expect(
        unsafe_code,
        reason = "the only way to a packet socket's address in nix"
    )]
    // SAFETY: the pointer is that of a whole, initialised `sockaddr_ll` on this stack, and the length is its own.
    let address = unsafe { LinkAddr::from_raw(ptr::from_ref(&address).cast(), Some(length)) };
    address.ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_has_its_sender_twice() {
        let packet = arp_announcement(
            "02:00:00:00:00:07".parse().unwrap(),
            "192.0.2.1".parse().unwrap(),
        );
        assert_eq!(
            packet,
            [
                0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0,
                2, 1
            ]
        );
    }

    #[test]
    fn broadcast_address_belongs_to_one_link() {
        let address = broadcast(7).unwrap();
        assert_eq!((address.ifindex(), address.halen()), (7, 6));
        assert_eq!(address.protocol(), 0x0806_u16.to_be());
    }
}
