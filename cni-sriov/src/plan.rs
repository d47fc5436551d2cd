//! Decides what is done to a VF, and what undoes it: data to data, no I/O.
//!
//! The order of steps is driver lore; see [`plan_attach`].

use std::fmt;

use sriov_config::netconf::Wanted;
use sriov_host::MacAddr;
use sriov_host::vf::{VfChange, VfLinkState, VfRate, VfSettings};
use sriov_host::vlan::Vlan;

use crate::device::{VfSide, VfView};
use crate::saved::Baseline;

/// One step on the way into the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Change of the VF at its PF.
    Vf(VfChange),
    /// Unbinding and binding of the VF's driver, which reads GUIDs only when it starts (mlx5).
    Rebind,
    /// Move of the network device into the pod, under the name that the pod knows.
    Move,
    /// MAC address of the network device, in the pod.
    LinkMac(MacAddr),
    /// MTU of the network device, in the pod.
    LinkMtu(u32),
    /// The network device up, in the pod: early, so that it finds its carrier while IPAM works.
    LinkUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vf(change) => write!(f, "set {change} at the PF"),
            Self::Rebind => f.write_str("bind the driver of the VF again"),
            Self::Move => f.write_str("move the network device into the pod"),
            Self::LinkMac(mac) => write!(f, "set the MAC address of the network device to {mac}"),
            Self::LinkMtu(mtu) => write!(f, "set the MTU of the network device to {mtu}"),
            Self::LinkUp => f.write_str("set the network device up"),
        }
    }
}

/// PF drivers that pin an address: once the PF has set one, the VF's driver may set none while trust is off, not even the same.
/// Zero unpins it (`drivers/net/ethernet/intel/igb/igb_main.c`, `igb_ndo_set_vf_mac` and `igb_set_vf_mac_filter`); seen on an 82576.
const PINNING: &[&str] = &["igb"];

/// Whether the driver of a PF is one of these.
pub fn pins_addresses(driver: &str) -> bool {
    PINNING.contains(&driver)
}

/// The steps that give the VF what is wanted, in order; only what is named is touched.
///
/// VLAN first: no frame of the pod may leave without it.
/// On drivers that pin addresses: unpin, let the network device take its address, then pin it.
pub fn plan_attach(wanted: &Wanted, view: &VfView) -> Vec<Step> {
    let is_netdev = matches!(view.side, VfSide::Netdev(_));
    let pins = pins_addresses(&view.pf.driver);
    let now = view.settings.unwrap_or_default();
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(wanted.vlan.map(|vlan| Step::Vf(VfChange::Vlan(vlan))));
    steps.extend(
        wanted
            .rate(now.rate.unwrap_or_default())
            .map(|rate| Step::Vf(VfChange::Rate(rate))),
    );
    steps.extend(wanted.spoofchk.map(|on| Step::Vf(VfChange::Spoofchk(on))));
    steps.extend(wanted.trust.map(|on| Step::Vf(VfChange::Trust(on))));
    steps.extend(
        wanted
            .link_state
            .map(|state| Step::Vf(VfChange::LinkState(state))),
    );
    steps.extend(wanted.guid.map(|guid| Step::Vf(VfChange::NodeGuid(guid))));
    steps.extend(wanted.guid.map(|guid| Step::Vf(VfChange::PortGuid(guid))));
    if wanted.guid.is_some() && is_netdev {
        steps.push(Step::Rebind);
    }
    let pin = wanted.mac.map(|mac| Step::Vf(VfChange::Mac(mac)));
    match (is_netdev, pins && wanted.mac.is_some()) {
        (true, true) => steps.extend([Step::Vf(VfChange::Mac(MacAddr::ZERO)), Step::Move]),
        (true, false) => {
            steps.extend(pin);
            steps.push(Step::Move);
        }
        (false, _) => steps.extend(pin),
    }
    if is_netdev {
        steps.extend(wanted.mac.map(Step::LinkMac));
        if pins {
            steps.extend(pin);
        }
        steps.extend(wanted.mtu.map(Step::LinkMtu));
        steps.push(Step::LinkUp);
    }
    steps
}

/// What is asked of the VF at its PF when all steps are done.
pub fn lasting(steps: &[Step]) -> Vec<VfChange> {
    let changes = steps.iter().filter_map(|step| {
        if let Step::Vf(change) = step {
            Some(*change)
        } else {
            None
        }
    });
    changes
        .filter(|change| *change != VfChange::Mac(MacAddr::ZERO))
        .collect()
}

/// What a driver gives a new VF; GUIDs are its own choice.
pub fn defaults() -> VfSettings {
    VfSettings {
        mac: Some(MacAddr::ZERO),
        vlan: Some(Vlan::default()),
        spoofchk: Some(true),
        trust: Some(false),
        rate: Some(VfRate::default()),
        link_state: Some(VfLinkState::Auto),
        node_guid: None,
        port_guid: None,
    }
}

/// The changes at the PF that bring back what was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoPlan {
    /// Before the network device is made what it was.
    pub before_link: Vec<VfChange>,
    /// Whether the PF forgets the VF's address on the way, so that the network device must set its own again.
    pub unpins: bool,
    /// Whether the VF's driver must be bound again before its network device is made what it was.
    pub rebinds: bool,
    /// After it: an address that is pinned at the PF can no longer be changed by the network device.
    pub after_link: Vec<VfChange>,
}

/// Brings back what was for whatever the steps touched and is not so already, in reverse order.
///
/// On a driver that pins, an address is unpinned first, as it cannot be seen whether it is pinned;
/// it is pinned again only where the PF had another than the network device, for then an operator set it.
pub fn plan_undo(
    wanted: &[VfChange],
    baseline: &Baseline,
    now: &VfSettings,
    driver: &str,
) -> UndoPlan {
    let pins = pins_addresses(driver);
    let mut plan = UndoPlan::default();
    let was = baseline.settings.unwrap_or_default();
    let fresh = defaults();
    let mut unpin = Vec::new();
    for change in wanted.iter().rev() {
        // What the driver does not tell goes back to what it gives a new VF.
        let back = change.found(&was).or(change.found(&fresh));
        plan.before_link
            .extend(back.filter(|back| !(pins && matches!(back, VfChange::Mac(_)))));
        if pins && matches!(change, VfChange::Mac(_)) {
            unpin.push(VfChange::Mac(MacAddr::ZERO));
            plan.unpins = true;
            let own = baseline.link.as_ref().and_then(|link| link.mac);
            let pinned = was
                .mac
                .filter(|admin| !admin.is_zero() && own != Some(*admin));
            plan.after_link.extend(pinned.map(VfChange::Mac));
        }
    }
    plan.before_link
        .retain(|change| change.is_done(now) != Some(true));
    plan.before_link.extend(unpin);
    plan.rebinds = plan
        .before_link
        .iter()
        .any(|change| matches!(change, VfChange::NodeGuid(_) | VfChange::PortGuid(_)));
    plan
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use sriov_host::VfIndex;
    use sriov_host::netlink::Link;
    use sriov_host::vlan::VlanProto;

    use super::*;
    use crate::device::PfView;
    use crate::saved::SavedLink;

    fn view(driver: &str, side: VfSide) -> VfView {
        VfView {
            address: "0000:01:10.0".parse().unwrap(),
            incarnation: 1,
            pf: PfView {
                address: "0000:01:00.0".parse().unwrap(),
                name: "pf0".into(),
                driver: driver.into(),
                ifindex: 3,
            },
            index: VfIndex::new(0),
            settings: Some(VfSettings {
                rate: Some(VfRate { min: 0, max: 50 }),
                ..VfSettings::default()
            }),
            side,
        }
    }

    fn netdev() -> VfSide {
        let mac = Some("02:00:00:00:00:07".parse().unwrap());
        VfSide::Netdev(Link {
            index: 5,
            name: "eth2".into(),
            altnames: vec![],
            mac,
            mtu: 1500,
            is_up: false,
            has_carrier: false,
            permanent_mac: None,
            guid: None,
            device: None,
        })
    }

    fn everything() -> Wanted {
        Wanted {
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            vlan: Some(Vlan {
                id: 100.try_into().unwrap(),
                qos: 3.try_into().unwrap(),
                proto: VlanProto::Dot1q,
            }),
            spoofchk: Some(true),
            trust: Some(false),
            min_tx_rate: Some(10),
            mtu: Some(9000),
            ..Wanted::default()
        }
    }

    fn check(wanted: &Wanted, view: &VfView, expected: &Expect) {
        let steps = plan_attach(wanted, view);
        expected.assert_eq(
            &steps
                .iter()
                .map(|step| format!("{step}\n"))
                .collect::<Vec<_>>()
                .concat(),
        );
    }

    #[test]
    fn a_driver_that_pins_gets_the_address_from_the_netdev_first() {
        check(
            &everything(),
            &view("igb", netdev()),
            &expect![[r"
                set vlan 100 qos 3 proto 802.1q at the PF
                set min_tx_rate 10 max_tx_rate 50 at the PF
                set spoofchk on at the PF
                set trust off at the PF
                set mac 00:00:00:00:00:00 at the PF
                move the network device into the pod
                set the MAC address of the network device to 02:00:00:00:00:01
                set mac 02:00:00:00:00:01 at the PF
                set the MTU of the network device to 9000
                set the network device up
            "]],
        );
    }

    #[test]
    fn other_drivers_get_it_from_the_pf_first() {
        check(
            &Wanted {
                mac: everything().mac,
                ..Wanted::default()
            },
            &view("i40e", netdev()),
            &expect![[r"
                set mac 02:00:00:00:00:01 at the PF
                move the network device into the pod
                set the MAC address of the network device to 02:00:00:00:00:01
                set the network device up
            "]],
        );
    }

    #[test]
    fn what_is_not_named_is_not_touched_and_user_space_has_no_netdev() {
        check(
            &Wanted::default(),
            &view("igb", netdev()),
            &expect![[r"
            move the network device into the pod
            set the network device up
        "]],
        );
        check(
            &Wanted {
                mac: everything().mac,
                ..Wanted::default()
            },
            &view("igb", VfSide::Userspace("vfio-pci".into())),
            &expect![[r"
                set mac 02:00:00:00:00:01 at the PF
            "]],
        );
    }

    #[test]
    fn a_guid_needs_the_driver_to_start_again() {
        let guid = sriov_host::Guid::from_number(7);
        let wanted = Wanted {
            guid: Some(guid),
            link_state: Some(VfLinkState::Enable),
            ..Wanted::default()
        };
        check(
            &wanted,
            &view("mlx5_core", netdev()),
            &expect![[r"
                set link_state enable at the PF
                set node GUID 00:00:00:00:00:00:00:07 at the PF
                set port GUID 00:00:00:00:00:00:00:07 at the PF
                bind the driver of the VF again
                move the network device into the pod
                set the network device up
            "]],
        );
        let was = sriov_host::Guid::from_number(9);
        let settings = VfSettings {
            node_guid: Some(was),
            port_guid: Some(was),
            ..VfSettings::default()
        };
        let baseline = Baseline {
            settings: Some(settings),
            link: None,
        };
        let touched = [VfChange::NodeGuid(guid), VfChange::PortGuid(guid)];
        let undo = plan_undo(&touched, &baseline, &VfSettings::default(), "mlx5_core");
        assert_eq!(
            undo.before_link,
            [VfChange::PortGuid(was), VfChange::NodeGuid(was)]
        );
        assert!(undo.rebinds);
        // What is as it was needs no new start.
        assert!(!plan_undo(&touched, &baseline, &settings, "mlx5_core").rebinds);
    }

    #[test]
    fn undoing_names_each_touched_setting_and_no_other() {
        let wanted = lasting(&plan_attach(&everything(), &view("igb", netdev())));
        let own: MacAddr = "02:00:00:00:00:07".parse().unwrap();
        let settings = VfSettings {
            mac: Some(own),
            vlan: Some(Vlan::default()),
            spoofchk: Some(true),
            trust: Some(true),
            rate: Some(VfRate { min: 0, max: 50 }),
            ..VfSettings::default()
        };
        let link = SavedLink {
            name: "eth2".into(),
            altnames: Some(vec![]),
            mac: Some(own),
            mtu: Some(1500),
            is_up: false,
        };
        let baseline = Baseline {
            settings: Some(settings),
            link: Some(link),
        };
        let vlan = Vlan {
            id: 100.try_into().unwrap(),
            ..Vlan::default()
        };
        let now = VfSettings {
            vlan: Some(vlan),
            spoofchk: Some(true),
            trust: Some(false),
            ..settings
        };
        assert_eq!(
            plan_undo(&wanted, &baseline, &now, "igb").before_link,
            [
                VfChange::Trust(true),
                VfChange::Vlan(Vlan::default()),
                VfChange::Mac(MacAddr::ZERO)
            ]
        );
        assert_eq!(
            plan_undo(&[VfChange::Trust(false)], &baseline, &now, "igb").before_link,
            [VfChange::Trust(true)]
        );
        // What was refused, and so is what it was, is not asked for again.
        assert_eq!(
            plan_undo(&[VfChange::Spoofchk(false)], &baseline, &now, "igb"),
            UndoPlan::default()
        );
    }

    #[test]
    fn what_was_never_told_goes_back_to_what_a_new_vf_has() {
        let untold = Baseline {
            settings: None,
            link: None,
        };
        let undo = plan_undo(
            &[VfChange::Trust(true), VfChange::Spoofchk(false)],
            &untold,
            &VfSettings::default(),
            "virtio",
        );
        assert_eq!(
            undo.before_link,
            [VfChange::Spoofchk(true), VfChange::Trust(false)]
        );
    }

    #[test]
    fn an_address_that_an_operator_pinned_is_pinned_again() {
        let pinned: MacAddr = "02:00:00:00:00:09".parse().unwrap();
        let baseline = Baseline {
            settings: Some(VfSettings {
                mac: Some(pinned),
                ..VfSettings::default()
            }),
            link: None,
        };
        let undo = plan_undo(
            &[VfChange::Mac(MacAddr::ZERO)],
            &baseline,
            &VfSettings::default(),
            "igb",
        );
        assert_eq!(undo.before_link, [VfChange::Mac(MacAddr::ZERO)]);
        assert_eq!(undo.after_link, [VfChange::Mac(pinned)]);
        let undo = plan_undo(
            &[VfChange::Mac(MacAddr::ZERO)],
            &baseline,
            &VfSettings::default(),
            "i40e",
        );
        assert_eq!(
            (undo.before_link, undo.after_link),
            (vec![VfChange::Mac(pinned)], vec![])
        );
    }
}
