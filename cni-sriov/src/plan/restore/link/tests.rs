//! Restorations of a network device.

use expect_test::{Expect, expect};

use super::*;
use crate::model::examples::{link, saved_link as was};

fn check(link: &Link, was: &SavedLink, is_unpinned: bool, expected: &Expect) {
    let how = LinkRestore {
        is_unpinned,
        resets: false,
    };
    let changes = link_changes(link, was, how);
    let lines: Vec<String> = changes.iter().map(|change| format!("{change}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn restored_device_is_not_touched() {
    check(&link(), &was(), false, &expect![""]);
    let up = Link {
        is_up: true,
        ..link()
    };
    let was_up = SavedLink {
        is_up: true,
        ..was()
    };
    check(&up, &was_up, false, &expect![""]);
    check(
        &up,
        &was(),
        false,
        &expect![[r"
        set it down
    "]],
    );
    check(
        &link(),
        &was_up,
        false,
        &expect![[r"
        set it up
    "]],
    );
}

#[test]
fn unpinned_address_is_set_again() {
    check(
        &link(),
        &was(),
        true,
        &expect![[r"
            set its MAC address to 02:00:00:00:00:06
            set its MAC address to 02:00:00:00:00:07
        "]],
    );
}

#[test]
fn driver_that_lost_a_setting_resets_the_vf_first() {
    let how = LinkRestore {
        is_unpinned: true,
        resets: true,
    };
    let mac = link().mac.unwrap();
    assert_eq!(
        link_changes(&link(), &was(), how),
        [
            LinkChange::Up,
            LinkChange::Down,
            LinkChange::Mac(mac.neighbour()),
            LinkChange::Mac(mac)
        ]
    );
}

#[test]
fn changes_of_the_pod_are_reverted() {
    let changed = Link {
        name: "net1".into(),
        altnames: vec!["b".into()],
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        mtu: 9000,
        is_up: true,
        ..link()
    };
    let was_up = SavedLink {
        is_up: true,
        ..was()
    };
    check(
        &changed,
        &was_up,
        false,
        &expect![[r"
            set it down
            remove the alternative name `b`
            rename it to `eth2`
            add the alternative name `a`
            set its MTU to 1500
            set its MAC address to 02:00:00:00:00:07
            set it up
        "]],
    );
}

#[test]
fn unknown_properties_are_not_touched() {
    let unknown = SavedLink {
        altnames: None,
        mac: None,
        mtu: None,
        ..was()
    };
    let changed = Link {
        altnames: vec!["b".into()],
        mtu: 9000,
        ..link()
    };
    check(&changed, &unknown, true, &expect![""]);
    assert_eq!(link_difference(&changed, &unknown), None);
}

#[test]
fn claim_is_dropped_when_the_name_is_regained() {
    let spare = Link {
        name: "vf0-01100".into(),
        altnames: vec!["a".into(), "was.eth2".into()],
        ..link()
    };
    check(
        &spare,
        &was(),
        false,
        &expect![[r"
            remove the alternative name `was.eth2`
            rename it to `eth2`
        "]],
    );
}

#[test]
fn difference_is_named() {
    let other = Link {
        mtu: 9000,
        ..link()
    };
    assert_eq!(
        link_difference(&other, &was()).unwrap(),
        "its network device had mtu 1500, it has 9000"
    );
}
