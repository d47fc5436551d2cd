//! One change of one link, and its name for operators.

use std::fmt;

use super::properties::{LinkFlags, LinkLimit, XdpMode};
use super::qdisc::QdiscPlace;
use crate::ifname::IfName;
use crate::mac::MacAddr;
use crate::raw_name::RawName;

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
    /// Sets all flags of [`LinkFlags`].
    Flags(LinkFlags),
    /// Sets the length of the transmit queue, in packets.
    QueueLength(u32),
    /// Sets one limit of segmentation offload.
    Limit(LinkLimit, u32),
    /// Sets the group.
    Group(u32),
    /// Sets the alias; an empty one removes it.
    Alias(RawName),
    /// Sets the link-layer broadcast address.
    Broadcast(MacAddr),
    /// Sets the link mode (`IF_LINK_MODE_*`): 0 for the default, 1 for dormant.
    Mode(u8),
    /// Detaches the XDP program of one mode.
    DetachXdp(XdpMode),
    /// Takes the link out of its bond, bridge or VRF.
    Release,
    /// Deletes the queue discipline of a place, with its filters.
    DeleteQdisc(QdiscPlace),
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
            Self::Flags(flags) => write!(f, "set its flags to {flags}"),
            Self::QueueLength(length) => write!(f, "set its queue length to {length}"),
            Self::Limit(limit, value) => write!(f, "set its {limit} to {value}"),
            Self::Group(group) => write!(f, "set its group to {group}"),
            Self::Alias(alias) if alias.is_empty() => f.write_str("remove its alias"),
            Self::Alias(alias) => write!(f, "set its alias to `{alias}`"),
            Self::Broadcast(mac) => write!(f, "set its broadcast address to {mac}"),
            Self::Mode(mode) => write!(f, "set its link mode to {mode}"),
            Self::DetachXdp(mode) => write!(f, "detach its {mode} XDP program"),
            Self::DeleteQdisc(place) => write!(f, "delete its {place} queue discipline"),
            Self::Release => f.write_str("release it from its master"),
        }
    }
}
