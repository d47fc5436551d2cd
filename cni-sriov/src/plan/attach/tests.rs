//! Plans of attachments, as lines.

use expect_test::{Expect, expect};
use sriov_host::vf::VfLinkState;
use sriov_host::vlan::{Vlan, VlanProto};

use super::*;
use crate::model::{Driver, examples};

fn netdev() -> VfSide {
    VfSide::Netdev(examples::link())
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

fn lines(plan: &AttachPlan) -> String {
    let steps: Vec<String> = match plan {
        AttachPlan::Userspace(changes) => changes
            .iter()
            .map(|change| HostStep::Vf(*change).to_string())
            .collect(),
        AttachPlan::Netdev { before, after, .. } => [
            before.iter().map(ToString::to_string).collect::<Vec<_>>(),
            vec!["move the network device into the pod".to_owned()],
            after.iter().map(ToString::to_string).collect(),
        ]
        .concat(),
    };
    steps.join("\n") + "\n"
}

fn check(wanted: &Wanted, pf_driver: &str, side: VfSide, expected: &Expect) {
    let plan = plan_attach(wanted, &examples::view(pf_driver, side));
    expected.assert_eq(&lines(&plan));
}

#[test]
fn pinning_driver_gets_the_address_from_the_netdev_first() {
    check(
        &everything(),
        "igb",
        netdev(),
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
        "]],
    );
}

#[test]
fn other_drivers_get_the_address_from_the_pf_first() {
    check(
        &Wanted {
            mac: everything().mac,
            ..Wanted::default()
        },
        "i40e",
        netdev(),
        &expect![[r"
            set mac 02:00:00:00:00:01 at the PF
            move the network device into the pod
            set the MAC address of the network device to 02:00:00:00:00:01
        "]],
    );
}

#[test]
fn unnamed_settings_are_not_touched() {
    check(
        &Wanted::default(),
        "igb",
        netdev(),
        &expect![[r"
        move the network device into the pod
    "]],
    );
    check(
        &Wanted {
            mac: everything().mac,
            ..Wanted::default()
        },
        "igb",
        VfSide::Userspace(Driver::new("vfio-pci")),
        &expect![[r"
            set mac 02:00:00:00:00:01 at the PF
        "]],
    );
}

#[test]
fn guid_needs_a_rebind_of_the_driver() {
    let guid = sriov_host::Guid::from_number(7);
    let wanted = Wanted {
        guid: Some(guid),
        link_state: Some(VfLinkState::Enable),
        ..Wanted::default()
    };
    check(
        &wanted,
        "mlx5_core",
        netdev(),
        &expect![[r"
            set link_state enable at the PF
            set node GUID 00:00:00:00:00:00:00:07 at the PF
            set port GUID 00:00:00:00:00:00:00:07 at the PF
            rebind the driver of the VF
            move the network device into the pod
        "]],
    );
}

#[test]
fn unpinning_is_not_a_lasting_setting() {
    let plan = plan_attach(&everything(), &examples::view("igb", netdev()));
    let lasting: Vec<String> = plan.lasting().iter().map(ToString::to_string).collect();
    assert_eq!(
        lasting,
        [
            "vlan 100 qos 3 proto 802.1q",
            "min_tx_rate 10 max_tx_rate 50",
            "spoofchk on",
            "trust off",
            "mac 02:00:00:00:00:01"
        ]
    );
}
