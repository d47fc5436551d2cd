//! VLAN vocabulary: identifier, priority and tag protocol of a VF's port VLAN.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// VLAN identifier, 0 to 4094; 0 means "no port VLAN" (`IFLA_VF_VLAN`, `include/uapi/linux/if_link.h`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

/// VLAN priority (802.1p), 0 to 7.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct VlanQos(u8);

/// Tag protocol of a port VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VlanProto {
    /// 802.1Q, `EtherType` 0x8100.
    #[default]
    #[serde(rename = "802.1q")]
    Dot1q,
    /// 802.1ad (`QinQ` service tag), `EtherType` 0x88a8.
    #[serde(rename = "802.1ad")]
    Dot1ad,
}

/// The port VLAN of a VF: the tag that the NIC inserts on transmit and strips on receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vlan {
    /// Identifier; 0 clears the port VLAN.
    pub id: VlanId,
    /// Priority of transmitted frames.
    pub qos: VlanQos,
    /// Tag protocol.
    pub proto: VlanProto,
}

/// A number that is not a VLAN identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a VLAN identifier: expected 0 to 4094")]
pub struct InvalidVlanId {
    value: u16,
}

/// A number that is not a VLAN priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a VLAN priority: expected 0 to 7")]
pub struct InvalidVlanQos {
    value: u8,
}

/// A text that is not a VLAN tag protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a VLAN protocol: expected `802.1q` or `802.1ad`")]
pub struct InvalidVlanProto {
    text: String,
}

impl VlanId {
    /// The identifier as the kernel takes it.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl VlanQos {
    /// The priority as the kernel takes it.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u16> for VlanId {
    type Error = InvalidVlanId;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        if value <= 4094 {
            Ok(Self(value))
        } else {
            Err(InvalidVlanId { value })
        }
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> Self {
        id.0
    }
}

impl TryFrom<u8> for VlanQos {
    type Error = InvalidVlanQos;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if value <= 7 {
            Ok(Self(value))
        } else {
            Err(InvalidVlanQos { value })
        }
    }
}

impl From<VlanQos> for u8 {
    fn from(qos: VlanQos) -> Self {
        qos.0
    }
}

impl FromStr for VlanProto {
    type Err = InvalidVlanProto;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "802.1q" => Ok(Self::Dot1q),
            "802.1ad" => Ok(Self::Dot1ad),
            _ => Err(InvalidVlanProto {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VlanQos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for VlanProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dot1q => "802.1q",
            Self::Dot1ad => "802.1ad",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_as_in_the_kernel() {
        assert_eq!(VlanId::try_from(4094).unwrap().get(), 4094);
        assert!(VlanId::try_from(4095).is_err());
        assert_eq!(VlanQos::try_from(7).unwrap().get(), 7);
        assert!(VlanQos::try_from(8).is_err());
    }

    #[test]
    fn protocol_is_read_in_any_case() {
        for (text, proto) in [
            ("802.1Q", VlanProto::Dot1q),
            ("802.1AD", VlanProto::Dot1ad),
            ("802.1q", VlanProto::Dot1q),
        ] {
            assert_eq!(text.parse(), Ok(proto));
        }
        assert!("802.1x".parse::<VlanProto>().is_err());
    }
}
