//! Reads a link from the bytes of an `RTM_NEWLINK` message (`rtnl_fill_ifinfo`, `net/core/rtnetlink.c`).
//!
//! Each attribute is read for itself: a value that is odd is left out, and the link still has its index.

use crate::guid::Guid;
use crate::link::Link;
use crate::mac::MacAddr;
use crate::nla::{attributes, number32};
use crate::raw_name::RawName;

/// Length of `struct ifinfomsg`.
pub(super) const HEADER: usize = 16;

// IFF_*, include/uapi/linux/if.h
pub(super) const IFF_UP: u32 = 0x1;
pub(super) const IFF_LOWER_UP: u32 = 0x1_0000;

// IFLA_*, include/uapi/linux/if_link.h
pub(super) const ADDRESS: u16 = 1;
pub(super) const IFNAME: u16 = 3;
pub(super) const MTU: u16 = 4;
pub(super) const VFINFO_LIST: u16 = 22;
pub(super) const PROP_LIST: u16 = 52;
pub(super) const ALT_IFNAME: u16 = 53;
pub(super) const PERM_ADDRESS: u16 = 54;
pub(super) const PARENT_DEV_NAME: u16 = 56;

/// Interface index of a link.
pub(super) fn index(body: &[u8]) -> Option<u32> {
    number32(body, 4)
}

/// The flags of a link (`IFF_*`).
pub(super) fn flags(body: &[u8]) -> u32 {
    number32(body, 8).unwrap_or_default()
}

/// The attributes of a link.
pub(super) fn parts(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(body.get(HEADER..).unwrap_or_default())
}

/// Reads a link; `None` if not even the fixed part is there.
pub(super) fn read(body: &[u8]) -> Option<Link> {
    let flags = flags(body.get(..HEADER)?);
    let mut link = Link {
        index: index(body)?,
        is_up: flags & IFF_UP != 0,
        has_carrier: flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP,
        ..Link::default()
    };
    for (kind, value) in parts(body) {
        match kind {
            IFNAME => link.name = RawName::from_bytes(value),
            ADDRESS => {
                link.mac = mac(value);
                link.guid = port_guid(value);
            }
            PERM_ADDRESS => link.permanent_mac = mac(value),
            MTU => link.mtu = number32(value, 0).unwrap_or_default(),
            PARENT_DEV_NAME => {
                let name = RawName::from_bytes(value);
                link.device = name.to_str().and_then(|name| name.parse().ok());
            }
            PROP_LIST => link.altnames.extend(altnames(value)),
            _ => {}
        }
    }
    Some(link)
}

/// The alternative names in a list of properties.
pub(super) fn altnames(list: &[u8]) -> impl Iterator<Item = RawName> {
    let names = attributes(list).filter(|(kind, _)| *kind == ALT_IFNAME);
    names
        .map(|(_, name)| RawName::from_bytes(name))
        .filter(|name| !name.is_empty())
}

/// An Ethernet address.
pub(super) fn mac(bytes: &[u8]) -> Option<MacAddr> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddr::new)
}

fn port_guid(address: &[u8]) -> Option<Guid> {
    let guid = address.last_chunk::<8>().filter(|_| address.len() == 20)?;
    Some(Guid::from_number(u64::from_be_bytes(*guid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_guid_is_the_end_of_the_ipoib_address() {
        let mut address = vec![0x80, 0, 0, 0x48, 0xfe, 0x80, 0, 0, 0, 0, 0, 0];
        address.extend([2, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(
            port_guid(&address).unwrap().to_string(),
            "02:00:00:00:00:00:00:07"
        );
        assert_eq!(port_guid(&[2, 0, 0, 0, 0, 7]), None);
    }
}
