//! VF vocabulary: index at the PF, settings at the PF, and one change of one setting.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;
use crate::mac::MacAddr;
use crate::vlan::Vlan;

/// Index of a VF at its PF: the N of `virtfnN` and of `ip link set PF vf N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VfIndex(u16);

impl VfIndex {
    /// Takes the number as sysfs and netlink use it.
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// The number as sysfs and netlink use it.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Link state policy of a VF (`IFLA_VF_LINK_STATE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VfLinkState {
    /// Follows the PF's link.
    #[default]
    Auto,
    /// Always up, also while the PF has no link.
    Enable,
    /// Always down.
    Disable,
}

impl fmt::Display for VfLinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Enable => "enable",
            Self::Disable => "disable",
        })
    }
}

/// Transmit rates of a VF in Mbit/s; 0 means no limit (`IFLA_VF_RATE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VfRate {
    /// Guaranteed rate.
    pub min: u32,
    /// Ceiling.
    pub max: u32,
}

/// Settings of a VF as its PF reports them.
///
/// `None` means that the PF's driver does not report the setting; it then can neither be checked nor restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VfSettings {
    /// Administrative MAC address; zero when the PF never set one.
    pub mac: Option<MacAddr>,
    /// Port VLAN.
    pub vlan: Option<Vlan>,
    /// Source MAC address check on transmit.
    pub spoofchk: Option<bool>,
    /// Whether the VF may change its own address and filters.
    pub trust: Option<bool>,
    /// Transmit rates.
    pub rate: Option<VfRate>,
    /// Link state policy.
    pub link_state: Option<VfLinkState>,
    /// GUID of its InfiniBand node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_guid: Option<Guid>,
    /// GUID of its InfiniBand port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_guid: Option<Guid>,
}

/// One change of one setting of a VF at its PF: one netlink request, so that an error names one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VfChange {
    /// Sets the administrative MAC address; zero unpins it on drivers that pin (igb).
    Mac(MacAddr),
    /// Sets the port VLAN; identifier 0 clears it.
    Vlan(Vlan),
    /// Switches the source MAC address check.
    Spoofchk(bool),
    /// Switches trust.
    Trust(bool),
    /// Sets both rates, in Mbit/s.
    Rate(VfRate),
    /// Sets the link state policy.
    LinkState(VfLinkState),
    /// Sets the GUID of the InfiniBand node.
    NodeGuid(Guid),
    /// Sets the GUID of the InfiniBand port.
    PortGuid(Guid),
}

impl VfChange {
    /// The setting's name as operators write it in the network configuration.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Mac(_) => "mac",
            Self::Vlan(_) => "vlan",
            Self::Spoofchk(_) => "spoofchk",
            Self::Trust(_) => "trust",
            Self::Rate(_) => "max_tx_rate",
            Self::LinkState(_) => "link_state",
            Self::NodeGuid(_) | Self::PortGuid(_) => "infinibandGUID",
        }
    }

    /// The present value of the same setting, as a change; `None` if the PF does not report it.
    pub fn found(&self, settings: &VfSettings) -> Option<Self> {
        match self {
            Self::Mac(_) => settings.mac.map(Self::Mac),
            Self::Vlan(_) => settings.vlan.map(Self::Vlan),
            Self::Spoofchk(_) => settings.spoofchk.map(Self::Spoofchk),
            Self::Trust(_) => settings.trust.map(Self::Trust),
            Self::Rate(_) => settings.rate.map(Self::Rate),
            Self::LinkState(_) => settings.link_state.map(Self::LinkState),
            Self::NodeGuid(_) => settings.node_guid.map(Self::NodeGuid),
            Self::PortGuid(_) => settings.port_guid.map(Self::PortGuid),
        }
    }

    /// Whether the settings that the PF reports contain this change; `None` if the PF does not report the setting.
    pub fn is_done(&self, settings: &VfSettings) -> Option<bool> {
        self.found(settings).map(|found| found == *self)
    }
}

impl fmt::Display for VfChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on: bool| if on { "on" } else { "off" };
        match self {
            Self::Mac(mac) => write!(f, "mac {mac}"),
            Self::Vlan(Vlan { id, qos, proto }) => write!(f, "vlan {id} qos {qos} proto {proto}"),
            Self::Spoofchk(value) => write!(f, "spoofchk {}", on(*value)),
            Self::Trust(value) => write!(f, "trust {}", on(*value)),
            Self::Rate(VfRate { min, max }) => write!(f, "min_tx_rate {min} max_tx_rate {max}"),
            Self::LinkState(state) => write!(f, "link_state {state}"),
            Self::NodeGuid(guid) => write!(f, "node GUID {guid}"),
            Self::PortGuid(guid) => write!(f, "port GUID {guid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_is_recognised_in_the_reported_settings() {
        let settings = VfSettings {
            trust: Some(true),
            spoofchk: Some(false),
            ..VfSettings::default()
        };
        assert_eq!(VfChange::Trust(true).is_done(&settings), Some(true));
        assert_eq!(VfChange::Spoofchk(true).is_done(&settings), Some(false));
        assert_eq!(VfChange::Mac(MacAddr::ZERO).is_done(&settings), None);
    }
}
