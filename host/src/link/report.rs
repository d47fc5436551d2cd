//! A link as the kernel reports it.

use super::properties::LinkProperties;
use crate::guid::Guid;
use crate::mac::MacAddr;
use crate::pci::PciAddress;
use crate::raw_name::RawName;

/// A network device of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: RawName,
    /// Alternative names.
    pub altnames: Vec<RawName>,
    /// MAC address, if it is an Ethernet address.
    pub mac: Option<MacAddr>,
    /// GUID of the port behind an `IPoIB` link: the end of its 20-byte address (RFC 4391, section 9.1.1).
    pub guid: Option<Guid>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether the link is administratively up.
    pub is_up: bool,
    /// Whether the link can send: it is up, and its driver reports a link (`IFF_LOWER_UP`).
    pub has_carrier: bool,
    /// The address that the device was created with, if its driver reports it (`IFLA_PERM_ADDRESS`, Linux 5.6).
    pub permanent_mac: Option<MacAddr>,
    /// PCI address of the device, also while the link is away from the host's namespace (`IFLA_PARENT_DEV_NAME`, Linux 5.14).
    pub device: Option<PciAddress>,
    /// Kind of a link that was made on demand, for instance `vlan`; a network device of hardware has none (`IFLA_INFO_KIND`).
    pub kind: Option<RawName>,
    /// Index of the link below, for instance that of a VLAN device (`IFLA_LINK`).
    pub lower: Option<u32>,
    /// Number of the namespace in which the link below is; absent if it is in the same one (`IFLA_LINK_NETNSID`).
    pub lower_netns: Option<u32>,
    /// Root queue discipline, for instance `noop` or `mq`.
    pub qdisc: Option<RawName>,
    /// Smallest and largest MTU that the driver accepts, in bytes (Linux 4.19); 0 as the largest means no limit.
    pub mtu_range: Option<(u32, u32)>,
    /// Transmit and receive queues that the device was created with.
    pub queues: Option<(u32, u32)>,
    /// Limits of the driver's segmentation offload, in bytes and in segments of one packet (`IFLA_TSO_MAX_SIZE`, `IFLA_TSO_MAX_SEGS`, Linux 5.19).
    pub tso_max: Option<(u32, u32)>,
    /// Properties that `CAP_NET_ADMIN` in the namespace is enough to change, and that survive a move to another namespace.
    pub properties: Box<LinkProperties>,
}

impl Link {
    /// Whether this link is stacked on `other` of the same namespace, for instance as VLAN device, macvlan, bond or bridge.
    pub fn is_stacked_on(&self, other: &Self) -> bool {
        let is_above = self.lower == Some(other.index) && self.lower_netns.is_none();
        (is_above && self.index != other.index) || other.properties.master == Some(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_devices_are_known_by_index_or_as_master() {
        let mut vf = Link {
            index: 5,
            ..Link::default()
        };
        vf.properties.master = Some(9);
        let link = |index, lower, lower_netns| Link {
            index,
            lower,
            lower_netns,
            ..Link::default()
        };
        for (link, expected) in [
            (link(6, Some(5), None), true),
            // The same index of another namespace.
            (link(6, Some(5), Some(0)), false),
            (link(6, Some(7), None), false),
            (link(9, None, None), true),
            // Some links name themselves.
            (link(5, Some(5), None), false),
        ] {
            assert_eq!(link.is_stacked_on(&vf), expected, "{link:?}");
        }
    }
}
