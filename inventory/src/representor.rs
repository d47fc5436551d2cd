//! The representor of a VF or a subfunction: the network device at the PF that stands for it in switchdev mode.

use sriov_host::IfName;
use sriov_host::snapshot::{Netdev, PciFunction};

/// Finds the representor with the port name `vf3` or `sf88`, below its PF: `pf0vf3`, on a DPU with a controller number `c1pf0vf3`, of `sfc_ef100` with its port `p0pf0vf3`
/// (Documentation/networking/representors.rst; net/devlink/port.c, `__devlink_port_phys_port_name_get`).
pub(crate) fn representor(pf: &PciFunction, port: &str) -> Option<IfName> {
    let mut netdevs = pf.netdevs.iter();
    let found = netdevs.find(|netdev| stands_for(netdev, port));
    found.map(|netdev| netdev.name.clone())
}

fn stands_for(netdev: &Netdev, port: &str) -> bool {
    let name = netdev.phys_port_name.as_deref().unwrap_or_default();
    let Some(function) = name.strip_suffix(port) else {
        return false;
    };
    let digits = |c: char| c.is_ascii_digit();
    let controller = function.trim_end_matches(digits).strip_suffix("pf");
    let is_port = controller.is_some_and(|name| name.is_empty() || name.starts_with(['c', 'p']));
    netdev.phys_switch_id.is_some() && is_port
}
