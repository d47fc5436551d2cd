//! Properties of a link that a pod can change and that survive a move to another namespace.
//!
//! Addresses, routes, neighbours, queue disciplines and filters do not survive it (`__dev_change_net_namespace`, `net/core/dev.c`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StringDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::mac::MacAddr;
use crate::raw_name::RawName;

/// Properties of a link in addition to its name, address, MTU and state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkProperties {
    /// Flags.
    pub flags: LinkFlags,
    /// Number of users that want promiscuous mode, upper devices included (`IFLA_PROMISCUITY`).
    pub promiscuity: u32,
    /// Number of users that want all multicast frames (`IFLA_ALLMULTI`, Linux 6.2).
    pub allmulti: u32,
    /// Length of the transmit queue, in packets.
    pub queue_length: Option<u32>,
    /// Limits of segmentation offload; only those that the kernel reports.
    #[serde(deserialize_with = "of_known_names")]
    pub limits: BTreeMap<LinkLimit, u32>,
    /// Group of links; 0 is the default.
    pub group: u32,
    /// Alias.
    pub alias: Option<RawName>,
    /// Link-layer broadcast address, if it is an Ethernet address.
    pub broadcast: Option<MacAddr>,
    /// Link mode (`IF_LINK_MODE_*`): 0 for the default, 1 for dormant.
    pub mode: u8,
    /// Identifiers of the XDP programs that are attached.
    #[serde(deserialize_with = "of_known_names")]
    pub xdp: BTreeMap<XdpMode, u32>,
    /// Index of the bond, bridge or VRF that the link belongs to.
    pub master: Option<u32>,
}

/// Reads numbers by name, without the names that a later version may have added.
fn of_known_names<'de, D, K>(deserializer: D) -> Result<BTreeMap<K, u32>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
{
    let all = BTreeMap::<String, u32>::deserialize(deserializer)?;
    let known = all.into_iter().filter_map(|(name, number)| {
        let name: StringDeserializer<ValueError> = name.into_deserializer();
        Some((K::deserialize(name).ok()?, number))
    });
    Ok(known.collect())
}

/// The flags of a link that can be set from user space, without `IFF_UP` (`__dev_change_flags`, `net/core/dev.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkFlags(u32);

/// Names as in include/uapi/linux/if.h.
const FLAGS: [(u32, &str); 9] = [
    (0x4, "DEBUG"),
    (0x20, "NOTRAILERS"),
    (0x80, "NOARP"),
    (0x100, "PROMISC"),
    (0x200, "ALLMULTI"),
    (0x1000, "MULTICAST"),
    (0x2000, "PORTSEL"),
    (0x4000, "AUTOMEDIA"),
    (0x8000, "DYNAMIC"),
];

impl LinkFlags {
    /// All flags that can be set.
    pub const ALL: Self = Self(0xf3a4);
    /// No address resolution.
    pub const NOARP: Self = Self(0x80);
    /// Receives frames to any address.
    pub const PROMISC: Self = Self(0x100);
    /// Receives all multicast frames.
    pub const ALLMULTI: Self = Self(0x200);
    /// Supports multicast: what a network device has when it is probed.
    pub const MULTICAST: Self = Self(0x1000);

    /// Takes the flags that can be set from `ifi_flags`.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The flags as the kernel numbers them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for LinkFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for LinkFlags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for LinkFlags {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

impl fmt::Display for LinkFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = FLAGS.iter().filter(|(bit, _)| self.0 & bit != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

/// A limit of segmentation offload that can be set, with the name that `ip link` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkLimit {
    /// Bytes of one packet that is segmented by the device or on the way to it.
    GsoMaxSize,
    /// Segments of such a packet.
    GsoMaxSegs,
    /// Bytes of one packet that received segments are joined to (Linux 5.19).
    GroMaxSize,
    /// As `GsoMaxSize`, for IPv4 (Linux 6.3); setting `GsoMaxSize` may change it.
    GsoIpv4MaxSize,
    /// As `GroMaxSize`, for IPv4 (Linux 6.3); setting `GroMaxSize` may change it.
    GroIpv4MaxSize,
}

impl LinkLimit {
    /// Its name in `ip link`.
    pub fn name(self) -> &'static str {
        match self {
            Self::GsoMaxSize => "gso_max_size",
            Self::GsoMaxSegs => "gso_max_segs",
            Self::GroMaxSize => "gro_max_size",
            Self::GsoIpv4MaxSize => "gso_ipv4_max_size",
            Self::GroIpv4MaxSize => "gro_ipv4_max_size",
        }
    }
}

impl fmt::Display for LinkLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// In the device.
    Offloaded,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_as_in_the_kernel() {
        let all = FLAGS.iter().fold(0, |all, (bit, _)| all | bit);
        assert_eq!(all, LinkFlags::ALL.bits());
        let flags = LinkFlags::NOARP | LinkFlags::PROMISC;
        assert_eq!(flags.to_string(), "NOARP,PROMISC");
        // IFF_UP and IFF_RUNNING are state.
        assert_eq!(LinkFlags::from_bits(0x41).to_string(), "none");
    }

    #[test]
    fn properties_are_written_as_they_are_read() {
        let properties = LinkProperties {
            flags: LinkFlags::MULTICAST,
            limits: BTreeMap::from([(LinkLimit::GsoIpv4MaxSize, 65536)]),
            alias: Some(RawName::from_bytes(b"x\xff")),
            xdp: BTreeMap::from([(XdpMode::Native, 7)]),
            ..LinkProperties::default()
        };
        let text = serde_json::to_string(&properties).unwrap();
        assert!(text.contains(r#""gso_ipv4_max_size":65536"#) && text.contains(r"x\\xff"));
        assert_eq!(
            serde_json::from_str::<LinkProperties>(&text).unwrap(),
            properties
        );
        // A newer file has more names.
        let newer = text.replace(r#""limits":{"#, r#""limits":{"uso_max_size":7,"#);
        assert_eq!(
            serde_json::from_str::<LinkProperties>(&newer).unwrap(),
            properties
        );
        // An older file has fewer keys.
        assert_eq!(
            serde_json::from_str::<LinkProperties>("{}").unwrap(),
            LinkProperties::default()
        );
    }
}
