//! The state of the Go plugin, `<containerID>-<ifname>`: read for a DEL after a migration, written for a DEL after the way back.
//!
//! The keys are those that `sriov-cni` 2.8 saves (`pkg/types/types.go`), and the names of 2.1.0; Go matches them in any case.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use sriov_config::netconf::{NetConf, Wanted};
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::{Vlan, VlanProto};
use sriov_host::{IfName, PciAddress};

use crate::device::{VfSide, VfView};
use crate::journal::JournalError;
use crate::plan;
use crate::saved::{Baseline, SavedIpam, SavedLink};

/// What the Go plugin saved of an attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// When.
    pub modified: SystemTime,
    /// Name of the network.
    pub network: String,
    /// The VF.
    pub device: PciAddress,
    /// What was asked of the VF at its PF.
    pub wanted: Vec<VfChange>,
    /// What was true before.
    pub baseline: Baseline,
    /// How to give the addresses back.
    pub ipam: Option<SavedIpam>,
}

/// Reads a file; a torn one, which the Go plugin can leave, is like none, as it is for the Go plugin itself.
///
/// # Errors
/// When there is a file and it cannot be read.
pub fn read(path: &Path) -> Result<Option<Found>, JournalError> {
    let failed = |source| JournalError::Read {
        path: path.to_owned(),
        source,
    };
    // Of the opened file: a DEL on another VF may remove it meanwhile.
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let text = io::read_to_string(&mut file).map_err(failed)?;
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let modified = modified.map_err(failed)?;
    let found = decode(&text, modified);
    if found.is_none() {
        tracing::warn!("`{}` is no state of the Go plugin", path.display());
    }
    Ok(found)
}

fn decode(text: &str, modified: SystemTime) -> Option<Found> {
    let value: Value = serde_json::from_str(text).ok()?;
    // The network configuration is part of it, with the address that was asked for in `MAC`.
    let (conf, _) = NetConf::parse_for_release(text).ok()?;
    let state = value.as_object()?;
    let nothing = Map::new();
    let (was, settings, name) = if let Some(was) = field(state, "OrigVfState") {
        let was = was.as_object()?;
        (was, settings(was), text_of(was, "HostIFName"))
    } else {
        // 2.1.0 saves no more than the VF's name and index.
        field(state, "VFID")?;
        let name = text_of(state, "HostIFNames");
        (&nothing, plan::defaults(), name)
    };
    let name = name.filter(|name| !name.is_empty());
    let link = name.map(|name| SavedLink {
        name: name.to_owned(),
        altnames: None,
        mac: text_of(was, "EffectiveMAC").and_then(|mac| mac.parse().ok()),
        mtu: number(was, "MTU").filter(|mtu| *mtu > 0),
        is_up: false,
    });
    Some(Found {
        modified,
        network: conf.name,
        device: conf.device.address?,
        wanted: named(&conf.wanted, &settings),
        baseline: Baseline {
            settings: Some(settings),
            link,
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
            // An Ethernet type, in one byte order or the other; 0 from versions that did not know of it.
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

/// What a configuration names, as changes.
pub fn named(wanted: &Wanted, now: &VfSettings) -> Vec<VfChange> {
    let rate = wanted.rate(now.rate.unwrap_or_default());
    [
        wanted.vlan.map(VfChange::Vlan),
        rate.map(VfChange::Rate),
        wanted.spoofchk.map(VfChange::Spoofchk),
        wanted.trust.map(VfChange::Trust),
        wanted.link_state.map(VfChange::LinkState),
        wanted.guid.map(VfChange::NodeGuid),
        wanted.guid.map(VfChange::PortGuid),
        wanted.mac.map(VfChange::Mac),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The state as the Go plugin would have saved it for this attachment.
pub fn encode(stdin: &str, conf: &NetConf, view: &VfView, ifname: &IfName) -> String {
    let mut state = match serde_json::from_str(stdin) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    let now = view.settings.unwrap_or_default();
    let vlan = now.vlan.unwrap_or_default();
    let rate = now.rate.unwrap_or_default();
    let link = match &view.side {
        VfSide::Netdev(link) => Some(link),
        VfSide::Userspace(_) => None,
    };
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
    let was = json!({
        "HostIFName": link.map_or("", |link| link.name.as_str()),
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
    // 2.1.0 looks for the names here.
    let host = link.map_or("", |link| link.name.as_str());
    state.insert("HostIFNames".into(), json!(host));
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
mod tests {
    use proptest::prelude::*;
    use sriov_host::VfIndex;
    use sriov_host::netlink::Link;

    use super::*;
    use crate::device::PfView;

    /// As `sriov-cni` 2.8 marshals its configuration, for an 82576.
    const GO: &str = r#"{"OrigVfState":{"HostIFName":"eth2","SpoofChk":true,"Trust":false,"AdminMAC":"00:00:00:00:00:00","EffectiveMAC":"02:00:00:00:00:07","Vlan":0,"VlanQoS":0,"VlanProto":129,"MinTxRate":0,"MaxTxRate":0,"LinkState":0,"MTU":1500},"Master":"pf0","MAC":"02:00:00:00:00:01","vlan":100,"vlanQoS":3,"vlanProto":"802.1q","deviceID":"0000:01:10.0","VFID":0,"min_tx_rate":null,"max_tx_rate":null,"trust":"on","runtimeConfig":{},"cniVersion":"1.0.0","name":"n","type":"sriov","ipam":{"type":"static"},"dns":{}}"#;

    #[test]
    fn a_state_of_go_says_what_was_touched_and_what_was_before() {
        let found = decode(GO, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            (found.network.as_str(), found.device.to_string()),
            ("n", "0000:01:10.0".to_owned())
        );
        let touched: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(
            touched,
            [
                "vlan 100 qos 3 proto 802.1q",
                "trust on",
                "mac 02:00:00:00:00:01"
            ]
        );
        let link = found.baseline.link.unwrap();
        assert_eq!(
            (link.name.as_str(), link.mtu, link.altnames),
            ("eth2", Some(1500), None)
        );
        let settings = found.baseline.settings.unwrap();
        assert_eq!(
            (settings.spoofchk, settings.vlan),
            (Some(true), Some(Vlan::default()))
        );
        assert_eq!(found.ipam.unwrap().plugin, "static");
    }

    /// As `sriov-cni` 2.1.0 left it on an 82576; it does not know `trust`, and passed it over.
    const GO_2_1: &str = r#"{"cniVersion":"0.3.1","name":"n","type":"sriov","ipam":{"type":"static"},"dns":{},"DPDKMode":false,"Master":"pf0","vlan":100,"deviceID":"0000:01:10.0","VFID":0,"HostIFNames":"eth2","ContIFNames":"net1","trust":"on"}"#;

    #[test]
    fn a_state_without_what_was_before_goes_back_to_the_defaults() {
        let found = decode(GO_2_1, SystemTime::UNIX_EPOCH).unwrap();
        let touched: Vec<String> = found.wanted.iter().map(ToString::to_string).collect();
        assert_eq!(touched, ["vlan 100 qos 0 proto 802.1q", "trust on"]);
        assert_eq!(found.baseline.settings, Some(plan::defaults()));
        let link = found.baseline.link.unwrap();
        assert_eq!(
            (link.name.as_str(), link.mac, link.mtu),
            ("eth2", None, None)
        );
        assert_eq!(found.ipam.unwrap().plugin, "static");
        // A network configuration is no state.
        let conf = r#"{"cniVersion":"0.3.1","name":"n","type":"sriov","vlan":100,"deviceID":"0000:01:10.0"}"#;
        assert_eq!(decode(conf, SystemTime::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn any_state_is_read_or_none(
            field in 0_usize..24,
            value in r#"null|-1|70000|1e99|""|"x"|\[\]|\{\}|true"#,
        ) {
            let mut state: Value = serde_json::from_str(GO).unwrap();
            for pointer in ["", "/OrigVfState"] {
                let fields = state.pointer_mut(pointer).and_then(Value::as_object_mut);
                if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                    let key = fields.keys().nth(field % fields.len()).unwrap().clone();
                    fields.insert(key, serde_json::from_str(&value).unwrap());
                }
            }
            let _ = decode(&state.to_string(), SystemTime::UNIX_EPOCH);
        }
    }

    #[test]
    fn a_torn_state_is_none() {
        for length in 0..GO.len() {
            assert_eq!(decode(&GO[..length], SystemTime::UNIX_EPOCH), None);
        }
    }

    #[test]
    fn what_is_written_for_go_is_read_as_it_was_meant() {
        let stdin = r#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "vlan": 100, "mac": "02:00:00:00:00:02", "trust": "on",
            "runtimeConfig": {"mac": "02:00:00:00:00:01", "deviceID": "0000:01:10.0"}}"#;
        let conf = NetConf::parse(stdin, None).unwrap();
        let settings = VfSettings {
            mac: Some(sriov_host::MacAddr::ZERO),
            vlan: Some(Vlan::default()),
            spoofchk: Some(true),
            trust: Some(false),
            rate: Some(VfRate { min: 0, max: 50 }),
            link_state: Some(VfLinkState::Disable),
            ..VfSettings::default()
        };
        let view = VfView {
            address: "0000:01:10.0".parse().unwrap(),
            incarnation: 1,
            pf: PfView {
                address: "0000:01:00.0".parse().unwrap(),
                name: "pf0".into(),
                driver: "igb".into(),
                ifindex: 3,
            },
            index: VfIndex::new(2),
            settings: Some(settings),
            side: VfSide::Netdev(Link {
                index: 5,
                name: "eth2".into(),
                altnames: vec![],
                mac: Some("02:00:00:00:00:07".parse().unwrap()),
                mtu: 1450,
                is_up: true,
                has_carrier: true,
                permanent_mac: None,
                guid: None,
                device: None,
            }),
        };
        let text = encode(stdin, &conf, &view, &"net1".parse().unwrap());
        let found = decode(&text, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(found.baseline.settings, Some(settings));
        assert_eq!(found.wanted, named(&conf.wanted, &settings));
        let link = found.baseline.link.unwrap();
        assert_eq!((link.name.as_str(), link.mtu), ("eth2", Some(1450)));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["Master"], &value["VFID"], &value["MAC"]),
            (&json!("pf0"), &json!(2), &json!("02:00:00:00:00:01"))
        );
        // Without these 2.1.0 would rename the network device to nothing, and fail.
        assert_eq!(
            (&value["HostIFNames"], &value["ContIFNames"]),
            (&json!("eth2"), &json!("net1"))
        );
    }
}
