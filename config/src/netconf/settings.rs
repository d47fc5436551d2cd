//! The keys of a network configuration that set a VF at its PF: VLAN, switches, link state.

use sriov_host::vf::VfLinkState;
use sriov_host::vlan::{Vlan, VlanId, VlanProto, VlanQos};

use crate::fields::{Fields, Findings};

pub(super) fn vlan(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vlan> {
    let id = fields
        .number("vlan", 0, 4094, findings)
        .and_then(|id| VlanId::try_from(u16::try_from(id).ok()?).ok());
    let qos = fields
        .number("vlanQoS", 0, 7, findings)
        .and_then(|qos| VlanQos::try_from(u8::try_from(qos).ok()?).ok());
    let proto = if fields.text("vlanProto", findings).is_none_or(str::is_empty) {
        None
    } else {
        fields.parsed::<VlanProto>("vlanProto", findings)
    };
    if fields.value("vlan").is_none() {
        for key in ["vlanQoS", "vlanProto"]
            .into_iter()
            .filter(|key| fields.value(key).is_some())
        {
            findings.mistake(key, "it needs vlan, which is not there");
        }
    }
    let vlan = Vlan {
        id: id?,
        qos: qos.unwrap_or_default(),
        proto: proto.unwrap_or_default(),
    };
    if vlan.id.get() == 0 && vlan.qos.get() != 0 {
        findings.mistake(
            "vlanQoS",
            format!("`{}` needs a vlan other than 0", vlan.qos),
        );
    }
    if vlan.id.get() == 0 && vlan.proto == VlanProto::Dot1ad {
        findings.mistake("vlanProto", "`802.1ad` needs a vlan other than 0");
    }
    Some(vlan)
}

/// `on` or `off`, in any case; anything else would switch spoof checking off by a typing error.
pub(super) fn switch(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<bool> {
    let text = fields.text(key, findings).filter(|text| !text.is_empty())?;
    match text.to_ascii_lowercase().as_str() {
        "on" => Some(true),
        "off" => Some(false),
        _ => {
            findings.mistake(&fields.path(key), format!("`{text}` is not one of on, off"));
            None
        }
    }
}

pub(super) fn link_state(fields: &Fields<'_>, findings: &mut Findings) -> Option<VfLinkState> {
    let text = fields
        .text("link_state", findings)
        .filter(|text| !text.is_empty())?;
    match text {
        "auto" => Some(VfLinkState::Auto),
        "enable" => Some(VfLinkState::Enable),
        "disable" => Some(VfLinkState::Disable),
        _ => {
            findings.mistake(
                "link_state",
                format!("`{text}` is not one of auto, enable, disable"),
            );
            None
        }
    }
}
