//! The state of the Go plugin, `<containerID>-<ifname>`: read for a DEL after a migration, written for a DEL after the way back.
//!
//! The keys are those that `sriov-cni` 2.8 saves (`pkg/types/types.go`), and the names of 2.1.0; Go matches them in any case.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use sriov_config::netconf::NetConf;
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::{Vlan, VlanProto};
use sriov_host::{IfName, PciAddress};

use super::files;
use crate::model::{Baseline, SavedIpam, SavedLink, VfView, guessed_settings, spare_name};
use crate::plan::named_changes;

/// An attachment that the Go plugin saved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GoState {
    /// Time of the last change of the file.
    pub(crate) modified: SystemTime,
    /// Name of the network.
    pub(crate) network: String,
    /// PCI address of the VF.
    pub(crate) device: PciAddress,
    /// Settings that the attachment made at the PF.
    pub(crate) wanted: Vec<VfChange>,
    /// State of the VF before the attachment.
    pub(crate) baseline: Baseline,
    /// The IPAM call that DEL repeats; absent without IPAM.
    pub(crate) ipam: Option<SavedIpam>,
}

/// Reads a state; a file that is torn, which the Go plugin can leave, or unreadable counts as missing, as it does for the Go plugin itself.
pub(super) fn read(path: &Path) -> Option<GoState> {
    let found = try_read(path);
    match &found {
        Ok(Some(_)) => {}
        Ok(None) => {
            tracing::warn!(path = %path.display(), "the file is not a state of the Go plugin");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the state of the Go plugin");
        }
    }
    found.ok().flatten()
}

fn try_read(path: &Path) -> io::Result<Option<GoState>> {
    // The time is that of the opened file: a DEL on another VF may remove the path in the meantime.
    let file = files::open(path)?;
    let text = files::content(&file)?;
    let modified = file.metadata()?.modified()?;
    let text = String::from_utf8(text).ok();
    Ok(text.and_then(|text| decode(&text, modified)))
}

fn decode(text: &str, modified: SystemTime) -> Option<GoState> {
    let value: Value = serde_json::from_str(text).ok()?;
    // The network configuration is part of the state, with the wanted address in `MAC`.
    let (conf, _) = NetConf::parse_for_release(text).ok()?;
    let state = value.as_object()?;
    let nothing = Map::new();
    let (was, settings, name) = if let Some(was) = field(state, "OrigVfState") {
        let was = was.as_object()?;
        (was, settings(was), text_of(was, "HostIFName"))
    } else {
        // 2.1.0 saves only name and index of the VF.
        field(state, "VFID")?;
        let name = text_of(state, "HostIFNames");
        (&nothing, guessed_settings(), name)
    };
    let device = conf.device.address?;
    let name = name.filter(|name| !name.is_empty());
    // A name that the kernel would refuse cannot be restored.
    let name = name.and_then(|name| name.parse().ok().or_else(|| spare_name(device)));
    let link = name.map(|name| SavedLink {
        name,
        altnames: None,
        mac: text_of(was, "EffectiveMAC").and_then(|mac| mac.parse().ok()),
        mtu: number(was, "MTU").filter(|mtu| *mtu > 0),
        is_up: false,
        index: None,
        properties: None,
        ethtool: None,
    });
    Some(GoState {
        modified,
        network: conf.name,
        device,
        wanted: named_changes(&conf.wanted, &settings),
        baseline: Baseline {
            settings: Some(settings),
            link,
            driver: None,
        },
        ipam: conf.ipam.map(|plugin| SavedIpam {
            plugin,
            stdin: text.to_owned(),
            args: None,
        }),
    })
}

fn settings(was: &Map<String, Value>) -> VfSettings {
    let flag = |key: &str| field(was, key).and_then(Value::as_bool);
    let vlan = || {
        Some(Vlan {
            id: u16::try_from(number(was, "Vlan")?).ok()?.try_into().ok()?,
            qos: u8::try_from(number(was, "VlanQoS")?)
                .ok()?
                .try_into()
                .ok()?,
            // An Ethernet type in either byte order; 0 from versions without the field.
            proto: match number(was, "VlanProto") {
                Some(0x88a8 | 0xa888) => VlanProto::Dot1ad,
                Some(_) | None => VlanProto::Dot1q,
            },
        })
    };
    VfSettings {
        mac: text_of(was, "AdminMAC").and_then(|mac| mac.parse().ok()),
        vlan: vlan(),
        spoofchk: flag("SpoofChk"),
        trust: flag("Trust"),
        rate: number(was, "MinTxRate")
            .zip(number(was, "MaxTxRate"))
            .map(|(min, max)| VfRate { min, max }),
        link_state: match number(was, "LinkState") {
            Some(0) => Some(VfLinkState::Auto),
            Some(1) => Some(VfLinkState::Enable),
            Some(2) => Some(VfLinkState::Disable),
            Some(_) | None => None,
        },
        node_guid: None,
        port_guid: None,
    }
}

/// The state that the Go plugin would have saved for this attachment.
pub(crate) fn encode(stdin: &str, conf: &NetConf, view: &VfView, ifname: &IfName) -> String {
    let mut state = match serde_json::from_str(stdin) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    let now = view.settings.unwrap_or_default();
    let vlan = now.vlan.unwrap_or_default();
    let rate = now.rate.unwrap_or_default();
    let link = view.link();
    let mac = |mac: Option<sriov_host::MacAddr>| mac.unwrap_or(sriov_host::MacAddr::ZERO);
    let proto = match vlan.proto {
        VlanProto::Dot1q => 0x8100,
        VlanProto::Dot1ad => 0x88a8,
    };
    let link_state = match now.link_state.unwrap_or_default() {
        VfLinkState::Auto => 0,
        VfLinkState::Enable => 1,
        VfLinkState::Disable => 2,
    };
    let host_name = link.map_or(String::new(), |link| link.name.to_string());
    let was = json!({
        "HostIFName": host_name,
        "SpoofChk": now.spoofchk.unwrap_or_default(),
        "Trust": now.trust.unwrap_or_default(),
        "AdminMAC": mac(now.mac),
        "EffectiveMAC": mac(link.and_then(|link| link.mac)),
        "Vlan": vlan.id.get(),
        "VlanQoS": vlan.qos.get(),
        "VlanProto": proto,
        "MinTxRate": rate.min,
        "MaxTxRate": rate.max,
        "LinkState": link_state,
        "MTU": link.map_or(0, |link| link.mtu),
    });
    for key in ["prevResult", "runtimeConfig", "mac"] {
        state.retain(|name, _| !name.eq_ignore_ascii_case(key));
    }
    state.insert("OrigVfState".into(), was);
    // 2.1.0 reads the names from these keys.
    state.insert("HostIFNames".into(), json!(host_name));
    state.insert("ContIFNames".into(), json!(ifname.as_str()));
    state.insert("Master".into(), json!(view.pf.name));
    state.insert("VFID".into(), json!(view.index));
    state.insert("deviceID".into(), json!(view.address.to_string()));
    if let Some(mac) = conf.wanted.mac {
        state.insert("MAC".into(), json!(mac));
    }
    Value::Object(state).to_string()
}

fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let found = object
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value)
}

fn text_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    field(object, key).and_then(Value::as_str)
}

fn number(object: &Map<String, Value>, key: &str) -> Option<u32> {
    field(object, key)
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests;
