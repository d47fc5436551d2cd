//! The settings that a configuration names, as changes at the PF.

use sriov_config::netconf::Wanted;
use sriov_host::vf::{VfChange, VfSettings};

/// All changes that a configuration names; a rate that is not named stays as it is in `now`.
pub(crate) fn named_changes(wanted: &Wanted, now: &VfSettings) -> Vec<VfChange> {
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
