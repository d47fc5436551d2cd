//! The port VLAN of a network configuration.

use sriov_host::vlan::{Vlan, VlanId, VlanProto, VlanQos};

use crate::fields::{Fields, Findings};

pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vlan> {
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
    // The Go plugin accepts default values without `vlan`.
    if fields.value("vlan").is_none() {
        if qos.is_some_and(|qos| qos.get() != 0) {
            findings.mistake("vlanQoS", "it needs `vlan`, which is missing");
        }
        if proto == Some(VlanProto::Dot1ad) {
            findings.mistake("vlanProto", "`802.1ad` needs `vlan`, which is missing");
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
            format!("`{}` needs a `vlan` other than 0", vlan.qos),
        );
    }
    if vlan.id.get() == 0 && vlan.proto == VlanProto::Dot1ad {
        findings.mistake("vlanProto", "`802.1ad` needs a `vlan` other than 0");
    }
    Some(vlan)
}
