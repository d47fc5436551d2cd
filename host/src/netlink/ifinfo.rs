//! Reads a link from the bytes of an `RTM_NEWLINK` message (`rtnl_fill_ifinfo`, `net/core/rtnetlink.c`).
//!
//! Each attribute is read for itself: a value that is odd is left out, and the link still has its index.

pub(super) use super::overlong::VFINFO_LIST;
use super::overlong::attributes_of_link;
use super::xdp;
use crate::guid::Guid;
use crate::link::{Link, LinkFlags, LinkLimit, LinkProperties};
use crate::mac::MacAddr;
use crate::nla::{attribute, attributes, number32};
use crate::raw_name::RawName;

/// Length of `struct ifinfomsg`.
pub(super) const HEADER: usize = 16;

// IFF_*, include/uapi/linux/if.h
pub(super) const IFF_UP: u32 = 0x1;
pub(super) const IFF_LOWER_UP: u32 = 0x1_0000;

// IFLA_*, include/uapi/linux/if_link.h
pub(super) const ADDRESS: u16 = 1;
pub(super) const BROADCAST: u16 = 2;
pub(super) const IFNAME: u16 = 3;
pub(super) const MTU: u16 = 4;
pub(super) const LINK: u16 = 5;
pub(super) const QDISC: u16 = 6;
pub(super) const MASTER: u16 = 10;
pub(super) const TXQLEN: u16 = 13;
pub(super) const LINKMODE: u16 = 17;
pub(super) const LINKINFO: u16 = 18;
pub(super) const INFO_KIND: u16 = 1;
pub(super) const IFALIAS: u16 = 20;
pub(super) const GROUP: u16 = 27;
pub(super) const PROMISCUITY: u16 = 30;
pub(super) const NUM_TX_QUEUES: u16 = 31;
pub(super) const NUM_RX_QUEUES: u16 = 32;
pub(super) const LINK_NETNSID: u16 = 37;
pub(super) const GSO_MAX_SEGS: u16 = 40;
pub(super) const GSO_MAX_SIZE: u16 = 41;
pub(super) const XDP: u16 = 43;
pub(super) const MIN_MTU: u16 = 50;
pub(super) const MAX_MTU: u16 = 51;
pub(super) const PROP_LIST: u16 = 52;
pub(super) const ALT_IFNAME: u16 = 53;
pub(super) const PERM_ADDRESS: u16 = 54;
pub(super) const PARENT_DEV_NAME: u16 = 56;
pub(super) const GRO_MAX_SIZE: u16 = 58;
pub(super) const TSO_MAX_SIZE: u16 = 59;
pub(super) const TSO_MAX_SEGS: u16 = 60;
pub(super) const ALLMULTI: u16 = 61;
pub(super) const GSO_IPV4_MAX_SIZE: u16 = 63;
pub(super) const GRO_IPV4_MAX_SIZE: u16 = 64;

/// Types of the limits that can be set.
pub(super) const LIMITS: [(u16, LinkLimit); 5] = [
    (GSO_MAX_SIZE, LinkLimit::GsoMaxSize),
    (GSO_MAX_SEGS, LinkLimit::GsoMaxSegs),
    (GRO_MAX_SIZE, LinkLimit::GroMaxSize),
    (GSO_IPV4_MAX_SIZE, LinkLimit::GsoIpv4MaxSize),
    (GRO_IPV4_MAX_SIZE, LinkLimit::GroIpv4MaxSize),
];

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
    attributes_of_link(body.get(HEADER..).unwrap_or_default())
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
    link.properties.flags = LinkFlags::from_bits(flags);
    for (kind, value) in parts(body) {
        read_attribute(&mut link, kind, value);
        read_property(&mut link.properties, kind, value);
    }
    let number = |kind| {
        let mut all = parts(body).filter(|(other, _)| *other == kind);
        all.find_map(|(_, value)| number32(value, 0))
    };
    link.mtu_range = number(MIN_MTU).zip(number(MAX_MTU));
    link.queues = number(NUM_TX_QUEUES).zip(number(NUM_RX_QUEUES));
    link.tso_max = number(TSO_MAX_SIZE).zip(number(TSO_MAX_SEGS));
    Some(link)
}

fn read_attribute(link: &mut Link, kind: u16, value: &[u8]) {
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
        LINKINFO => link.kind = attribute(value, INFO_KIND).map(RawName::from_bytes),
        LINK => link.lower = number32(value, 0),
        LINK_NETNSID => link.lower_netns = number32(value, 0),
        QDISC => link.qdisc = Some(RawName::from_bytes(value)),
        _ => {}
    }
}

fn read_property(properties: &mut LinkProperties, kind: u16, value: &[u8]) {
    let number = || number32(value, 0);
    match kind {
        PROMISCUITY => properties.promiscuity = number().unwrap_or_default(),
        ALLMULTI => properties.allmulti = number().unwrap_or_default(),
        TXQLEN => properties.queue_length = number(),
        GROUP => properties.group = number().unwrap_or_default(),
        IFALIAS => {
            let alias = RawName::from_bytes(value);
            properties.alias = Some(alias).filter(|alias| !alias.is_empty());
        }
        BROADCAST => properties.broadcast = mac(value),
        LINKMODE => properties.mode = value.first().copied().unwrap_or_default(),
        XDP => properties.xdp = xdp::read(value),
        MASTER => properties.master = number().filter(|index| *index > 0),
        _ => {
            let limit = LIMITS.iter().find(|(other, _)| *other == kind);
            let value = limit.and_then(|(_, limit)| Some((*limit, number()?)));
            properties.limits.extend(value);
        }
    }
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
