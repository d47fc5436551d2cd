//! Plans an attachment. The order of the steps is driver lore; see [`plan_attach`].

use std::fmt;

use sriov_config::netconf::Wanted;
use sriov_host::MacAddr;
use sriov_host::netlink::Link;
use sriov_host::vf::VfChange;

use super::named_changes::named_changes;
use crate::model::{VfSide, VfView};

/// What gives the VF the wanted settings and hands it to the pod.
#[expect(clippy::large_enum_variant, reason = "a call has one plan")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttachPlan {
    /// The network device moves into the pod.
    Netdev {
        /// The network device, on the host.
        link: Link,
        /// Steps on the host, before the network device moves.
        before: Vec<HostStep>,
        /// Steps after the move; at the end the network device is set up.
        after: Vec<PodStep>,
    },
    /// A driver in user space has the VF: only its settings at the PF change.
    Userspace(Vec<VfChange>),
}

/// One step before the network device moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostStep {
    /// Changes a setting of the VF at its PF.
    Vf(VfChange),
    /// Unbinds and binds the VF's driver, which reads GUIDs only when it starts (mlx5).
    Rebind,
}

/// One step after the network device moved into the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodStep {
    /// Changes a setting of the VF at its PF.
    Vf(VfChange),
    /// Sets the MAC address of the network device.
    Mac(MacAddr),
    /// Sets the MTU of the network device, in bytes.
    Mtu(u32),
}

impl fmt::Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vf(change) => write!(f, "set {change} at the PF"),
            Self::Rebind => f.write_str("rebind the driver of the VF"),
        }
    }
}

impl fmt::Display for PodStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vf(change) => write!(f, "set {change} at the PF"),
            Self::Mac(mac) => write!(f, "set the MAC address of the network device to {mac}"),
            Self::Mtu(mtu) => write!(f, "set the MTU of the network device to {mtu}"),
        }
    }
}

/// Plans the steps that give the VF what is wanted, in order; a setting that is not named is not touched.
///
/// The VLAN comes first: no frame of the pod may leave without it.
/// On drivers that pin addresses, the address is unpinned, set by the network device, and then pinned.
pub(crate) fn plan_attach(wanted: &Wanted, view: &VfView) -> AttachPlan {
    let now = view.settings.unwrap_or_default();
    let mut changes = named_changes(wanted, &now);
    match &view.side {
        VfSide::Userspace(_) => AttachPlan::Userspace(changes),
        VfSide::Netdev(link) => {
            let pins = wanted.mac.filter(|_| view.pf.driver.pins_addresses());
            if pins.is_some() {
                changes.retain(|change| !matches!(change, VfChange::Mac(_)));
            }
            AttachPlan::Netdev {
                link: link.clone(),
                before: before_move(changes, wanted, pins.is_some()),
                after: after_move(wanted, pins),
            }
        }
    }
}

fn before_move(changes: Vec<VfChange>, wanted: &Wanted, unpins: bool) -> Vec<HostStep> {
    let (mac, others): (Vec<VfChange>, Vec<VfChange>) = changes
        .into_iter()
        .partition(|change| matches!(change, VfChange::Mac(_)));
    let mut steps: Vec<HostStep> = others.into_iter().map(HostStep::Vf).collect();
    steps.extend(wanted.guid.map(|_| HostStep::Rebind));
    if unpins {
        steps.push(HostStep::Vf(VfChange::Mac(MacAddr::ZERO)));
    }
    steps.extend(mac.into_iter().map(HostStep::Vf));
    steps
}

fn after_move(wanted: &Wanted, pins: Option<MacAddr>) -> Vec<PodStep> {
    let mut steps = Vec::new();
    steps.extend(wanted.mac.map(PodStep::Mac));
    steps.extend(pins.map(|mac| PodStep::Vf(VfChange::Mac(mac))));
    steps.extend(wanted.mtu.map(PodStep::Mtu));
    steps
}

impl AttachPlan {
    /// Settings of the VF at its PF when all steps are done, in the order of the steps.
    pub(crate) fn lasting(&self) -> Vec<VfChange> {
        let mut changes = self.changes();
        changes.retain(|change| *change != VfChange::Mac(MacAddr::ZERO));
        changes
    }

    fn changes(&self) -> Vec<VfChange> {
        match self {
            Self::Userspace(changes) => changes.clone(),
            Self::Netdev { before, after, .. } => {
                let before = before.iter().filter_map(|step| match step {
                    HostStep::Vf(change) => Some(*change),
                    HostStep::Rebind => None,
                });
                let after = after.iter().filter_map(|step| match step {
                    PodStep::Vf(change) => Some(*change),
                    PodStep::Mac(_) | PodStep::Mtu(_) => None,
                });
                before.chain(after).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
