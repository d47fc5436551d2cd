//! A link as the kernel reports it, and single changes of a link; plain data, no I/O.

use std::fmt;

use crate::guid::Guid;
use crate::ifname::IfName;
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
}

/// One change of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Sets the link up.
    Up,
    /// Sets the link down.
    Down,
    /// Sets the MAC address.
    Mac(MacAddr),
    /// Sets the MTU, in bytes.
    Mtu(u32),
    /// Renames the link.
    Name(IfName),
    /// Adds an alternative name.
    AddAltName(RawName),
    /// Removes an alternative name.
    DropAltName(RawName),
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("set it up"),
            Self::Down => f.write_str("set it down"),
            Self::Mac(mac) => write!(f, "set its MAC address to {mac}"),
            Self::Mtu(mtu) => write!(f, "set its MTU to {mtu}"),
            Self::Name(name) => write!(f, "rename it to `{name}`"),
            Self::AddAltName(name) => write!(f, "add the alternative name `{name}`"),
            Self::DropAltName(name) => write!(f, "remove the alternative name `{name}`"),
        }
    }
}
