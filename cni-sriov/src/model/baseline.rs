//! What a clean VF looks like: the state that an attachment found, and that its release brings back.
//!
//! Where nothing was recorded, [`driver_defaults`] and [`CleanLink::probed`] take its place.
//! `plan::restore` compares with it and plans the way back.

use serde::{Deserialize, Serialize};
use sriov_host::ethtool::EthtoolSettings;
use sriov_host::ifname::InvalidIfName;
use sriov_host::link::{CleanLink, LinkProperties};
use sriov_host::netlink::Link;
use sriov_host::vf::{VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::Vlan;
use sriov_host::{IfName, MacAddr, PciAddress, RawName};

use super::view::VfView;

/// Prefix of an alternative name that reserves a name: the device had `<name>`, and another device had taken it when this one returned to the host.
const CLAIM: &str = "was.";

/// State of a VF before its attachment.
///
/// This and [`SavedLink`] are part of the journal's format: new keys are optional and are left out where nothing is known,
/// so that older files can be read, and older programs ignore them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// Settings at the PF; absent when the driver does not report them.
    pub(crate) settings: Option<VfSettings>,
    /// Its network device; absent with a driver for user space.
    pub(crate) link: Option<SavedLink>,
    /// Its driver, which is bound again if the VF is found without one; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<String>,
}

/// A network device on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedLink {
    /// Name.
    pub(crate) name: IfName,
    /// Alternative names; absent when they are not known.
    pub(crate) altnames: Option<Vec<RawName>>,
    /// MAC address; absent when it is not known or not an Ethernet address.
    pub(crate) mac: Option<MacAddr>,
    /// MTU in bytes; absent when it is not known.
    pub(crate) mtu: Option<u32>,
    /// Whether it was up.
    pub(crate) is_up: bool,
    /// Index in the pod, or on the host before it has moved; absent when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u32>,
    /// Its other properties; absent when they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<LinkProperties>,
    /// Its settings of `ethtool`; absent when they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ethtool: Option<EthtoolSettings>,
}

impl Baseline {
    /// The state that the VF has now.
    ///
    /// # Errors
    /// When the network device has no name that it could be given back.
    pub(crate) fn of(view: &VfView) -> Result<Self, InvalidIfName> {
        let saved = |link| SavedLink::of(link, view.ethtool.as_ref(), view.address);
        let link = view.link().map(saved).transpose()?;
        // Kernels before Linux 5.12 report GUIDs only in the address of the network device.
        let guid = view.link().and_then(|link| link.guid);
        let settings = view.settings.map(|settings| VfSettings {
            node_guid: settings.node_guid.or(guid),
            port_guid: settings.port_guid.or(guid),
            ..settings
        });
        Ok(Self {
            settings,
            link,
            driver: Some(view.driver.as_str().to_owned()),
        })
    }
}

impl SavedLink {
    /// The device as it is, under the name that it has a claim to; a name that is not UTF-8 is replaced by a spare one.
    fn of(
        link: &Link,
        ethtool: Option<&EthtoolSettings>,
        device: PciAddress,
    ) -> Result<Self, InvalidIfName> {
        let claimed = link.altnames.iter().find_map(claimed_name);
        let own = || link.name.to_ifname().or_else(|| spare_name(device));
        let altnames = link.altnames.iter().filter(|name| !is_claim(name));
        Ok(Self {
            name: match claimed.or_else(own) {
                Some(name) => name,
                None => link.name.to_string().parse()?,
            },
            altnames: Some(altnames.cloned().collect()),
            mac: link.mac,
            mtu: Some(link.mtu),
            is_up: link.is_up,
            index: Some(link.index),
            properties: Some((*link.properties).clone()),
            ethtool: ethtool.cloned(),
        })
    }

    /// The state that the device must have before another pod gets it: its earlier state, or the defaults of its driver if that is unknown.
    ///
    /// `found` is the device as it came back: some values of a new device depend on its kind.
    pub(crate) fn clean(&self, found: &Link) -> CleanLink {
        let probed = CleanLink::probed(found);
        CleanLink {
            name: Some((&self.name).into()),
            altnames: self.altnames.clone(),
            mac: self.mac,
            mtu: self.mtu,
            is_up: Some(self.is_up),
            properties: self.properties.clone().unwrap_or(probed.properties),
        }
    }
}

/// The alternative name by which a device reserves `name`.
pub(crate) fn claim_to(name: &IfName) -> String {
    format!("{CLAIM}{name}")
}

/// A name that identifies the device, for a device whose own name is taken or lost.
///
/// At most 15 bytes long, as the kernel requires, for domains of up to seven hexadecimal digits.
pub(crate) fn spare_name(device: PciAddress) -> Option<IfName> {
    let name = format!(
        "vf{:x}-{:02x}{:02x}{}",
        device.domain(),
        device.bus(),
        device.device(),
        device.function()
    );
    name.parse().ok()
}

/// Settings that a driver gives a new VF; GUIDs are absent because each driver chooses its own.
pub(crate) fn driver_defaults() -> VfSettings {
    VfSettings {
        mac: Some(MacAddr::ZERO),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(false),
        rate: Some(VfRate::default()),
        link_state: Some(VfLinkState::Auto),
        node_guid: None,
        port_guid: None,
    }
}

/// The settings of a VF of which nothing is known: those of a new VF, without an address, because drivers report different ones.
pub(crate) fn guessed_settings() -> VfSettings {
    VfSettings {
        mac: None,
        ..driver_defaults()
    }
}

fn is_claim(altname: &RawName) -> bool {
    altname.strip_prefix(CLAIM).is_some()
}

/// A pod with privileges can write any alternative name: what is not an interface name claims nothing.
fn claimed_name(altname: &RawName) -> Option<IfName> {
    altname.strip_prefix(CLAIM)?.to_ifname()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::examples;

    fn saved(altnames: &[&str]) -> (String, Option<Vec<RawName>>) {
        let link = Link {
            altnames: altnames.iter().map(|&name| name.into()).collect(),
            ..examples::link()
        };
        let saved = SavedLink::of(&link, None, "0000:01:10.0".parse().unwrap()).unwrap();
        (saved.name.to_string(), saved.altnames)
    }

    #[test]
    fn claimed_name_is_saved_instead_of_the_current_one() {
        let others = Some(vec!["a".into()]);
        assert_eq!(saved(&["a", "was.eth7"]), ("eth7".into(), others.clone()));
        assert_eq!(saved(&["a"]), ("eth2".into(), others));
    }

    #[test]
    fn name_that_is_no_text_is_replaced_by_a_spare_one() {
        let link = Link {
            name: RawName::from_bytes(b"x\xff"),
            ..examples::link()
        };
        let saved = SavedLink::of(&link, None, "0000:01:10.0".parse().unwrap()).unwrap();
        assert_eq!(saved.name.as_str(), "vf0-01100");
    }

    #[test]
    fn claim_to_an_impossible_name_is_ignored() {
        for claim in ["was.", "was.a/b", "was.12345678901234567890"] {
            assert_eq!(saved(&[claim]), ("eth2".into(), Some(vec![])), "{claim}");
        }
    }

    #[test]
    fn spare_name_is_an_interface_name() {
        for (device, name) in [
            ("0000:01:10.0", "vf0-01100"),
            ("ffff:ff:1f.7", "vfffff-ff1f7"),
        ] {
            let spare = spare_name(device.parse().unwrap()).unwrap();
            assert_eq!(spare.as_str(), name);
        }
    }
}
