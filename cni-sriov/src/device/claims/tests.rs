//! Choices among the devices of a pod's claims.

use sriov_device_info::claims::{ClaimRef, PodRef};

use super::*;

/// A device: claim, request, function, and the wishes for network and interface.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
);

fn claims(rows: &[Row]) -> PodClaims {
    let devices = rows
        .iter()
        .map(|(claim, request, function, network, ifname)| {
            let network = network.and_then(|network| network.split_once('/'));
            ClaimDevice {
                claim: ClaimRef {
                    namespace: "trading".into(),
                    name: (*claim).into(),
                    uid: format!("uid-of-{claim}"),
                },
                request: (*request).into(),
                pool: "node-1".into(),
                device: format!("0000-01-10-{function}"),
                pci_address: address(function),
                resource: "example.com/trading".into(),
                network: network.map(|(namespace, name)| NetworkRef {
                    namespace: namespace.into(),
                    name: name.into(),
                }),
                ifname: ifname.map(|ifname| ifname.parse().unwrap()),
                metadata: None,
                rebound: None,
            }
        });
    PodClaims {
        driver: "sriov.virtfn.dev".into(),
        pod: PodRef {
            namespace: "trading".into(),
            name: "app-0".into(),
            uid: "uid".parse().unwrap(),
        },
        devices: devices.collect(),
    }
}

fn address(function: &str) -> PciAddress {
    format!("0000:01:10.{function}").parse().unwrap()
}

/// An attachment: claim and request of the configuration, interface, network.
type Asked = (
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
    &'static str,
);

fn with_wish<T>((claim, request, ifname, network): Asked, work: impl FnOnce(Wish<'_>) -> T) -> T {
    let source = ClaimSource {
        claim: claim.map(Into::into),
        request: request.map(Into::into),
    };
    let ifname = ifname.parse().unwrap();
    work(Wish {
        source: &source,
        ifname: &ifname,
        network,
    })
}

/// The function that is chosen while these functions are attached, or the error up to the colon.
fn pick(rows: &[Row], asked: Asked, attached: &[&str]) -> String {
    let claims = claims(rows);
    let attached: Vec<PciAddress> = attached.iter().map(|function| address(function)).collect();
    with_wish(asked, |wish| {
        match wish.pick(&claims, |device| !attached.contains(&device)) {
            Ok(device) => device.pci_address.to_string().split_off(11),
            Err(error) => error.to_string(),
        }
    })
}

#[test]
fn only_free_device_needs_no_wish() {
    let rows = [("feed", "vf", "0", None, None)];
    assert_eq!(pick(&rows, (None, None, "net1", "n"), &[]), "0");
    let left = pick(&rows, (None, None, "net2", "n"), &["0"]);
    assert_eq!(
        left,
        "each device of the pod's claims that is for interface `net2`, network `n` is attached already: `0000:01:10.0` (claim `feed`, request `vf`)"
    );
}

#[test]
fn devices_of_one_request_are_taken_in_their_order() {
    let rows = [
        ("feed", "vf", "2", None, None),
        ("feed", "vf", "0", None, None),
    ];
    assert_eq!(pick(&rows, (None, None, "net1", "n"), &[]), "2");
    assert_eq!(pick(&rows, (None, None, "net2", "n"), &["2"]), "0");
}

#[test]
fn vfs_of_one_class_follow_their_networks() {
    let rows = [
        ("feed", "a", "0", Some("trading/left"), None),
        ("feed", "b", "2", Some("trading/right"), None),
        ("feed", "c", "4", None, None),
    ];
    for (network, function) in [("left", "0"), ("right", "2"), ("other", "4")] {
        assert_eq!(pick(&rows, (None, None, "net1", network), &[]), function);
    }
    // Once its device is attached, a network does not get that of another.
    let left = pick(&rows, (None, None, "net3", "left"), &["0"]);
    assert!(left.contains("attached already"), "{left}");
    let none = pick(&rows[..2], (None, None, "net1", "other"), &[]);
    assert_eq!(
        none,
        "no device of the pod's claims is for interface `net1`, network `other`; prepared are: `0000:01:10.0` (claim `feed`, request `a`, network `trading/left`), `0000:01:10.2` (claim `feed`, request `b`, network `trading/right`)"
    );
}

#[test]
fn networks_of_the_same_name_need_an_interface_or_a_request() {
    let rows = |ifname| {
        [
            ("feed", "a", "0", Some("blue/net"), ifname),
            ("feed", "b", "2", Some("green/net"), None),
        ]
    };
    let several = pick(&rows(None), (None, None, "net1", "net"), &[]);
    assert!(several.starts_with("several requests"), "{several}");
    assert!(
        several.contains("`green/net`") && several.contains("`request`"),
        "{several}"
    );
    assert_eq!(
        pick(&rows(None), (None, Some("b"), "net1", "net"), &[]),
        "2"
    );
    assert_eq!(
        pick(&rows(Some("net1")), (None, None, "net1", "net"), &[]),
        "0"
    );
    assert_eq!(
        pick(&rows(Some("net1")), (None, None, "net2", "net"), &[]),
        "2"
    );
}

#[test]
fn claim_is_named_as_in_the_pod_or_as_it_is() {
    let rows = [
        ("app-0-feed-x7k2p", "vf", "0", None, None),
        ("feed-of-somebody", "vf", "2", None, None),
        ("orders", "vf", "4", None, None),
    ];
    for (claim, expected) in [
        ("feed", "0"),
        ("app-0-feed-x7k2p", "0"),
        ("orders", "4"),
        ("feed-of-somebody", "2"),
    ] {
        assert_eq!(pick(&rows, (Some(claim), None, "net1", "n"), &[]), expected);
    }
    for (claim, request) in [
        ("order", None),
        ("orders", Some("other")),
        ("app-0-feed", None),
    ] {
        let none = pick(&rows, (Some(claim), request, "net1", "n"), &[]);
        assert!(
            none.starts_with("no device of the pod's claims is for claim `"),
            "{none}"
        );
    }
}

#[test]
fn device_that_is_named_must_agree_with_the_claims() {
    let rows = [
        ("feed", "a", "0", Some("trading/left"), None),
        ("feed", "b", "2", Some("trading/right"), Some("net2")),
    ];
    let confirm = |asked, function: &str| {
        with_wish(asked, |wish| {
            let claims = claims(&rows);
            let entry = wish.confirm(&claims, address(function));
            entry.map(|entry| entry.map(|entry| entry.request.clone()))
        })
    };
    let left = (None, None, "net1", "left");
    assert_eq!(confirm(left, "0"), Ok(Some("a".into())));
    let refused = confirm(left, "2").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the configuration names the device `0000:01:10.2`, the pod's claims have `0000:01:10.0` (claim `feed`, request `a`, network `trading/left`) for interface `net1`, network `left`"
    );
    // The device plugin gave the pod another device, for another network.
    assert_eq!(confirm((None, None, "net3", "other"), "6"), Ok(None));
    assert!(confirm((None, None, "net3", "other"), "0").is_err());
    assert!(confirm((None, None, "net2", "any"), "6").is_err());
    assert!(confirm((None, Some("a"), "net3", "other"), "6").is_err());
    assert_eq!(
        confirm((None, Some("a"), "net3", "other"), "0"),
        Ok(Some("a".into()))
    );
}
