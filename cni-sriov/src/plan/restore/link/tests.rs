//! Restorations of a network device.

use expect_test::{Expect, expect};

use sriov_host::RawName;
use sriov_host::link::{LinkFlags, LinkProperties, XdpMode};

use super::*;
use crate::model::examples::{self, saved_link as was};

/// A device with the defaults of its driver, except for name, address and MTU.
fn link() -> Link {
    let mut link = examples::link();
    link.properties.flags = LinkFlags::MULTICAST;
    link
}

fn returned(link: &Link) -> ReturnedLink {
    ReturnedLink {
        link: link.clone(),
        ..ReturnedLink::default()
    }
}

fn check(link: &Link, was: &SavedLink, is_unpinned: bool, expected: &Expect) {
    let how = LinkRestore {
        is_unpinned,
        resets: false,
    };
    let changes = link_changes(&returned(link), was, how);
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
        link_changes(&returned(&link()), &was(), how),
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
    assert_eq!(link_difference(&returned(&changed), &unknown), None);
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
        link_difference(&returned(&other), &was())
            .unwrap()
            .to_string(),
        "mtu is 9000, expected 1500"
    );
}

/// Changes of a pod in addition to names, address, MTU and state.
fn spoilt() -> Link {
    Link {
        properties: Box::new(LinkProperties {
            flags: LinkFlags::NOARP | LinkFlags::PROMISC | LinkFlags::ALLMULTI,
            promiscuity: 1,
            group: 77,
            alias: Some(RawName::from_bytes(b"x\xff")),
            xdp: [(XdpMode::Generic, 7)].into(),
            ..LinkProperties::default()
        }),
        ..link()
    }
}

#[test]
fn properties_are_restored_as_probed_where_none_are_saved() {
    check(
        &spoilt(),
        &was(),
        false,
        &expect![[r"
            detach its generic XDP program
            set its flags to MULTICAST
            set its group to 0
            remove its alias
        "]],
    );
}

#[test]
fn properties_of_before_are_restored_where_they_are_saved() {
    let properties = LinkProperties {
        group: 3,
        alias: Some("rack 7".into()),
        ..*link().properties
    };
    let saved = SavedLink {
        properties: Some(properties),
        ..was()
    };
    check(
        &spoilt(),
        &saved,
        false,
        &expect![[r"
            detach its generic XDP program
            set its flags to MULTICAST
            set its group to 3
            set its alias to `rack 7`
        "]],
    );
}

#[test]
fn name_used_as_alternative_name_is_freed_first() {
    let swapped = Link {
        name: "a".into(),
        altnames: vec!["eth2".into()],
        ..link()
    };
    check(
        &swapped,
        &was(),
        false,
        &expect![[r"
            remove the alternative name `eth2`
            rename it to `eth2`
            add the alternative name `a`
        "]],
    );
}

#[test]
fn unrestorable_settings_count_until_a_driver_restart() {
    let features = |word| {
        Some(EthtoolSettings {
            features: Some(vec![word]),
            ..EthtoolSettings::default()
        })
    };
    let was = SavedLink {
        ethtool: features(3),
        ..was()
    };
    let promiscuous = LinkProperties {
        promiscuity: 1,
        ..*link().properties
    };
    let cases = [
        (
            ReturnedLink {
                has_uppers: true,
                ..returned(&link())
            },
            "upper device is present, expected none",
        ),
        (
            ReturnedLink {
                ethtool: features(1),
                ..returned(&link())
            },
            "features is 1, expected 3",
        ),
        (
            returned(&Link {
                properties: Box::new(promiscuous),
                ..link()
            }),
            "promiscuity is 1, expected 0",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(link_changes(&found, &was, LinkRestore::default()), []);
        let difference = link_difference(&found, &was).unwrap();
        assert_eq!(difference.to_string(), expected);
        let fresh = ReturnedLink {
            is_fresh: true,
            ..found
        };
        assert_eq!(link_difference(&fresh, &was), None);
    }
}

#[test]
fn fresh_device_with_another_address_is_still_different() {
    let fresh = ReturnedLink {
        is_fresh: true,
        ..returned(&Link {
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            ..link()
        })
    };
    assert!(link_difference(&fresh, &was()).is_some());
}
