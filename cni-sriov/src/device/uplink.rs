//! Which network device of a PF is its uplink, and which are representors: the rule of `host::snapshot`, which the device plugin uses too.

use sriov_host::snapshot::{self, Netdev};
use sriov_host::sysfs::Presence;

/// The network device through which the VFs of a PF are configured.
pub(super) fn uplink(pf: &Presence) -> Option<&Netdev> {
    snapshot::uplink(&pf.netdevs)
}

/// Whether a network device represents another function, as in switchdev mode.
///
/// A `phys_switch_id` proves nothing: `ice` has one in legacy mode too.
pub(super) fn is_representor(netdev: &Netdev) -> bool {
    netdev.is_representor()
}
