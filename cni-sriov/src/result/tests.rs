//! Results of all versions.

use proptest::prelude::*;
use serde_json::{Value, json};
use sriov_config::NetConf;
use sriov_config::netconf::CniVersion;

use super::*;

/// Values of all kinds, with the keys of a result among them.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "192\\.0\\.2\\.1(/24)?|[a-z]{0,4}|2001:db8::1/64".prop_map(Value::from),
    ];
    let keys =
        "interfaces|ips|ip4|ip6|routes|dns|address|ip|gateway|interface|name|dst|gw|mtu|table|x";
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_previous_result_is_refused_or_expressed_again(
        previous in any_value(),
        version in prop::sample::select(CniVersion::ALL.as_slice()),
    ) {
        let conf = json!({ "cniVersion": version.as_str(), "name": "n", "prevResult": previous });
        let conf = NetConf::parse(&conf.to_string(), None).unwrap();
        if let Ok(mut attached) = Attached::previous(&conf) {
            let _ = attached.add_addresses(&previous, 0);
            let _ = attached.readable_routes();
            let document = attached.document(&conf);
            prop_assert_eq!(&document["cniVersion"], version.as_str());
            prop_assert!(Attached::read(&document).is_ok(), "{}", document);
        }
    }
}

fn document(version: &str, ipam: Option<&Value>) -> Value {
    let with_ipam = if ipam.is_some() {
        r#", "ipam": {"type": "x"}"#
    } else {
        ""
    };
    let conf = NetConf::parse(
        &format!(r#"{{"cniVersion": "{version}", "name": "n"{with_ipam}}}"#),
        None,
    )
    .unwrap();
    let mut attached = Attached::default();
    let interface = Interface {
        name: "net1".into(),
        mac: Some("02:00:00:00:00:01".into()),
        mtu: Some(1500),
        pci_id: Some("0000:01:10.0".into()),
        ..Interface::default()
    };
    let position = attached.add_interface(interface);
    if let Some(ipam) = ipam {
        attached.add_addresses(ipam, position).unwrap();
    }
    attached.document(&conf)
}

#[test]
fn each_version_has_its_fields() {
    let ipam = json!({"ips": [{"address": "192.0.2.10/24", "gateway": "192.0.2.1"}], "routes": [{"dst": "0.0.0.0/0"}]});
    let new = document("1.1.0", Some(&ipam));
    assert_eq!(
        new["interfaces"][0],
        json!({"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 1500, "pciID": "0000:01:10.0"})
    );
    assert_eq!(
        new["ips"][0],
        json!({"address": "192.0.2.10/24", "gateway": "192.0.2.1", "interface": 0})
    );
    assert_eq!(
        document("1.0.0", Some(&ipam))["interfaces"][0].get("pciID"),
        None
    );
    let old = document("0.4.0", Some(&ipam));
    assert_eq!(
        (
            old["ips"][0]["version"].as_str(),
            old["interfaces"][0].get("mtu")
        ),
        (Some("4"), None)
    );
    let oldest = document("0.2.0", Some(&ipam));
    assert_eq!(oldest["ip4"]["ip"], "192.0.2.10/24");
    assert_eq!(oldest.get("interfaces"), None);
}

#[test]
fn result_that_cannot_be_expressed_is_refused() {
    let conf = NetConf::parse(r#"{"cniVersion": "0.2.0", "name": "n"}"#, None).unwrap();
    let refused = Attached::default().ensure_expressible(&conf);
    assert!(matches!(refused, Err(ResultError::Inexpressible(_))));
}

#[test]
fn old_ipam_result_is_read_and_empty_one_refused() {
    let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.10/24", "gateway": "192.0.2.1", "routes": [{"dst": "10.0.0.0/8"}]}});
    let addresses = Attached::default().add_addresses(&old, 0).unwrap();
    assert_eq!(addresses.routes[0].gw, Some("192.0.2.1".parse().unwrap()));
    assert!(
        Attached::default()
            .add_addresses(&json!({"ips": []}), 0)
            .is_err()
    );
}

#[test]
fn result_of_the_previous_plugin_is_kept() {
    let conf = r#"{"cniVersion": "1.0.0", "name": "n", "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.0.0.1/8", "interface": 0}]}}"#;
    let conf = NetConf::parse(conf, None).unwrap();
    let mut attached = Attached::previous(&conf).unwrap();
    assert_eq!(attached.add_interface(Interface::default()), 1);
    assert_eq!(attached.document(&conf)["interfaces"][0]["name"], "eth0");
}

/// Go writes `null` for a list or a pointer that was never filled, and an empty text for an address that was never filled.
#[test]
fn null_and_empty_members_of_ipam_are_absent() {
    let full = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "192.0.2.10/24" }], "routes": [{ "dst": "192.0.2.0/24" }] });
    let sparse = json!({ "cniVersion": "1.0.0", "interfaces": null, "dns": null, "ip6": null,
        "ips": [null, { "version": null, "address": "192.0.2.10/24", "gateway": "", "interface": -1 }],
        "routes": [{ "dst": "192.0.2.0/24", "gw": null, "mtu": null, "scope": null }] });
    assert_eq!(
        document("1.0.0", Some(&sparse)),
        document("1.0.0", Some(&full))
    );
    let old = json!({ "ip4": { "ip": "192.0.2.10/24", "gateway": null, "routes": null }, "ip6": null, "dns": null });
    let ips = &document("1.0.0", Some(&old))["ips"];
    assert_eq!(ips.as_array().unwrap().len(), 1);
}
