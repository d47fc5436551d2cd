//! Which network device of a PF is its uplink, and which are representors of its VFs.

use sriov_host::snapshot::Netdev;
use sriov_host::sysfs::Presence;

/// The uplink of a PF: in switchdev mode representors stand alongside it, and its port name is `p` and a number.
pub(super) fn uplink(pf: &Presence) -> Option<&Netdev> {
    let named = pf
        .netdevs
        .iter()
        .find(|netdev| netdev.phys_port_name.as_deref().is_some_and(is_port));
    named.or_else(|| pf.netdevs.iter().find(|netdev| !is_representor(netdev)))
}

/// Whether a network device represents a VF: its port name is like `pf0vf3` or `c1pf0vf3` (net/devlink/port.c, `__devlink_port_phys_port_name_get`).
///
/// A `phys_switch_id` proves nothing: `ice` has one in legacy mode too.
pub(super) fn is_representor(netdev: &Netdev) -> bool {
    let port = netdev.phys_port_name.as_deref().unwrap_or_default();
    port.rsplit_once("vf")
        .is_some_and(|(pf, vf)| pf.contains("pf") && is_number(vf))
}

fn is_port(name: &str) -> bool {
    name.strip_prefix('p').is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
