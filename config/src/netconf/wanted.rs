//! Settings of the VF in a network configuration.

use serde_json::Value;
use sriov_host::vf::{VfLinkState, VfRate};
use sriov_host::vlan::Vlan;
use sriov_host::{Guid, MacAddr};

use super::{address, vlan};
use crate::fields::{Fields, Findings};

/// Settings of the VF; an absent setting is left unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// Port VLAN.
    pub vlan: Option<Vlan>,
    /// Spoof check.
    pub spoofchk: Option<bool>,
    /// Trust.
    pub trust: Option<bool>,
    /// Link state policy.
    pub link_state: Option<VfLinkState>,
    /// `min_tx_rate` in Mbit/s.
    pub min_tx_rate: Option<u32>,
    /// `max_tx_rate` in Mbit/s.
    pub max_tx_rate: Option<u32>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// `runtimeConfig.infinibandGUID`, for node and port.
    pub guid: Option<Guid>,
}

impl Wanted {
    /// Both rates, if one is configured; the other keeps its present value.
    pub fn rate(&self, now: VfRate) -> Option<VfRate> {
        let named = self.min_tx_rate.is_some() || self.max_tx_rate.is_some();
        named.then(|| VfRate {
            min: self.min_tx_rate.unwrap_or(now.min),
            max: self.max_tx_rate.unwrap_or(now.max),
        })
    }
}

pub(super) fn read(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    cni_args: Option<&str>,
    findings: &mut Findings,
) -> Wanted {
    let rate = |key: &str, findings: &mut Findings| {
        fields
            .number(key, 0, u32::MAX.into(), findings)
            .and_then(|rate| u32::try_from(rate).ok())
    };
    let wanted = Wanted {
        mac: address::mac(fields, runtime, cni_args, findings),
        vlan: vlan::read(fields, findings),
        spoofchk: switch(fields, "spoofchk", findings),
        trust: switch(fields, "trust", findings),
        link_state: link_state(fields, findings),
        min_tx_rate: rate("min_tx_rate", findings),
        max_tx_rate: rate("max_tx_rate", findings),
        // The kernel's smallest Ethernet MTU is 68 (ETH_MIN_MTU); the driver decides about the largest.
        mtu: fields
            .number("mtu", 68, 65535, findings)
            .and_then(|mtu| u32::try_from(mtu).ok()),
        guid: runtime.and_then(|runtime| address::guid(runtime, findings)),
    };
    if let (Some(min), Some(max @ 1..)) = (wanted.min_tx_rate, wanted.max_tx_rate)
        && min > max
    {
        findings.mistake(
            "min_tx_rate",
            format!("`{min}` is more than max_tx_rate `{max}`"),
        );
    }
    wanted
}

/// Reads `on` or `off` in any case; other text is refused, because a typing error must not switch spoof checking off.
fn switch(fields: &Fields<'_>, key: &str, findings: &mut Findings) -> Option<bool> {
    if let Some(value @ Value::Bool(_)) = fields.value(key) {
        findings.mistake(
            &fields.path(key),
            format!("`{value}` is neither `on` nor `off`: YAML reads on and off without quotes as true and false"),
        );
        return None;
    }
    let text = fields.text(key, findings).filter(|text| !text.is_empty())?;
    match text.to_ascii_lowercase().as_str() {
        "on" => Some(true),
        "off" => Some(false),
        _ => {
            findings.mistake(
                &fields.path(key),
                format!("`{text}` is neither `on` nor `off`"),
            );
            None
        }
    }
}

fn link_state(fields: &Fields<'_>, findings: &mut Findings) -> Option<VfLinkState> {
    let words = [
        ("auto", Some(VfLinkState::Auto)),
        ("enable", Some(VfLinkState::Enable)),
        ("disable", Some(VfLinkState::Disable)),
    ];
    fields.choice("link_state", None, &words, findings)?
}
