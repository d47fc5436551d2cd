//! Keys of a resource whose value is one of a few words: `allocationPolicy`, `publish`, `pfHealth`.

use std::fmt;

use super::ResourceName;
use crate::fields::{Fields, Findings};

/// Bytes of a string attribute of a device (`resource.k8s.io/v1`, `DeviceAttributeMaxValueLength`).
const LONGEST_ATTRIBUTE: usize = 64;

/// The preferred devices for a container; devices of one NUMA node come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllocationPolicy {
    /// Devices of as few PFs as possible.
    #[default]
    Packed,
    /// Devices spread evenly over the PFs, the least used first.
    Spread,
    /// Devices of different PFs as far as possible, for bonds.
    DistinctPf,
}

/// The front end through which pods get the devices of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publish {
    /// The device plugin, as an extended resource of the kubelet.
    #[default]
    DevicePlugin,
    /// The DRA driver, as devices of `ResourceSlices`.
    Dra,
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DevicePlugin => "devicePlugin",
            Self::Dra => "dra",
        })
    }
}

/// Condition of the PF for a healthy VF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PfHealth {
    /// The PF is up and has carrier: the VF's link follows it unless `link_state` is forced.
    #[default]
    Carrier,
    /// The PF is up.
    Up,
    /// The PF exists.
    Ignore,
}

pub(super) fn allocation_policy(fields: &Fields<'_>, findings: &mut Findings) -> AllocationPolicy {
    let words = [
        ("packed", AllocationPolicy::Packed),
        ("spread", AllocationPolicy::Spread),
        ("distinct-pf", AllocationPolicy::DistinctPf),
    ];
    let default = AllocationPolicy::default();
    let chosen = fields.choice("allocationPolicy", default, &words, findings);
    chosen.unwrap_or_default()
}

pub(super) fn pf_health(fields: &Fields<'_>, findings: &mut Findings) -> PfHealth {
    let words = [
        ("carrier", PfHealth::Carrier),
        ("up", PfHealth::Up),
        ("ignore", PfHealth::Ignore),
    ];
    let chosen = fields.choice("pfHealth", PfHealth::default(), &words, findings);
    chosen.unwrap_or_default()
}

pub(super) fn publish(
    fields: &Fields<'_>,
    name: Option<&ResourceName>,
    findings: &mut Findings,
) -> Publish {
    let words = [
        ("devicePlugin", Publish::DevicePlugin),
        ("dra", Publish::Dra),
    ];
    let chosen = fields.choice("publish", Publish::default(), &words, findings);
    let length = name.map_or(0, |name| name.to_string().len());
    if chosen == Some(Publish::Dra) && length > LONGEST_ATTRIBUTE {
        findings.mistake(
            &fields.path("publish"),
            format!("with `dra`, prefix and name have at most {LONGEST_ATTRIBUTE} bytes together with `/`, as an attribute of a device; these have {length}"),
        );
    }
    chosen.unwrap_or_default()
}
