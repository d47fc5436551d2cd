//! Differences, as lines.

use super::*;
use crate::model::examples;

fn lines(drifts: &[Drift]) -> Vec<String> {
    drifts.iter().map(ToString::to_string).collect()
}

#[test]
fn drifted_setting_is_named_with_both_values() {
    let saved = examples::saved();
    let mut now = VfSettings::default();
    for change in &saved.wanted {
        if let VfChange::Mac(mac) = change {
            now.mac = Some(*mac);
        } else if let VfChange::Vlan(vlan) = change {
            now.vlan = Some(*vlan);
        } else if let VfChange::Trust(on) = change {
            now.trust = Some(*on);
        }
    }
    assert!(settings(&saved, &now, false).is_empty());
    // A setting that the driver does not report has not drifted.
    assert!(settings(&saved, &VfSettings::default(), false).is_empty());
    now.trust = Some(true);
    assert_eq!(
        lines(&settings(&saved, &now, false)),
        ["trust of VF 0 at 0000:01:00.0: wanted trust off, found trust on"]
    );
}

#[test]
fn link_is_compared_with_the_result_of_the_chain() {
    let link = Link {
        name: "net1".into(),
        mtu: 1400,
        is_up: true,
        ..examples::link()
    };
    let interface = Interface {
        mac: Some("02:00:00:00:00:07".into()),
        mtu: Some(1500),
        ..Interface::default()
    };
    assert!(super::link(&interface, Some(1400), &link).is_empty());
    // An old version of the result has no MTU, and this plugin may have set none.
    assert!(super::link(&interface, None, &link).is_empty());
    let down = Link {
        is_up: false,
        mtu: 1500,
        mac: Some("02:00:00:00:00:08".parse().unwrap()),
        ..link
    };
    assert_eq!(
        lines(&super::link(&interface, Some(1400), &down)),
        [
            "mac of `net1`: wanted 02:00:00:00:00:07, found 02:00:00:00:00:08",
            "mtu of `net1`: wanted 1400, found 1500",
            "state of `net1`: wanted up, found down"
        ]
    );
}

#[test]
fn missing_addresses_and_routes_are_named() {
    let ips: Vec<IpNet> = vec!["192.0.2.1/24".parse().unwrap()];
    let more: Vec<IpNet> = vec!["fe80::1/64".parse().unwrap(), ips[0]];
    assert!(addresses("net1", &ips, &more).is_empty());
    assert_eq!(
        lines(&addresses("net1", &ips, &[])),
        ["address of `net1`: wanted 192.0.2.1/24, found none"]
    );
    let route = |dst: &str, gw: Option<&str>| Route {
        dst: dst.parse().unwrap(),
        gw: gw.map(|gw| gw.parse().unwrap()),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    };
    let found = [route("10.0.0.0/8", Some("192.0.2.254"))];
    assert!(routes(&[route("10.0.0.0/8", None)], &found).is_empty());
    assert_eq!(
        lines(&routes(&[route("10.0.0.0/8", Some("192.0.2.1"))], &found)),
        ["route: wanted 10.0.0.0/8 via 192.0.2.1, found 10.0.0.0/8 via 192.0.2.254"]
    );
    let metric = Route {
        priority: Some(7),
        ..route("10.0.0.0/8", None)
    };
    assert_eq!(routes(&[metric], &found).len(), 1);
}

#[test]
fn address_and_mtu_of_an_enslaved_link_are_its_masters() {
    let mut link = Link {
        name: "net1".into(),
        mtu: 1400,
        is_up: true,
        mac: Some("02:00:00:00:00:08".parse().unwrap()),
        ..examples::link()
    };
    link.properties.master = Some(9);
    let interface = Interface {
        mac: Some("02:00:00:00:00:07".into()),
        ..Interface::default()
    };
    assert!(super::link(&interface, Some(1500), &link).is_empty());
    link.is_up = false;
    let drifts = super::link(&interface, Some(1500), &link);
    assert_eq!(lines(&drifts), ["state of `net1`: wanted up, found down"]);
    let saved = examples::saved();
    let now = VfSettings {
        mac: link.mac,
        ..VfSettings::default()
    };
    assert_eq!(settings(&saved, &now, false).len(), 1);
    assert!(settings(&saved, &now, true).is_empty());
}
