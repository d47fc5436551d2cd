//! Parameters that were written for `dra-driver-sriov`.

use super::*;

const VERSION: &str = "sriovnetwork.k8snetworkplumbingwg.io/v1alpha1";

fn parse(keys: Value) -> Result<VfConfig, Vec<String>> {
    let mut keys = keys;
    keys["apiVersion"] = json!(VERSION);
    keys["kind"] = json!(KIND);
    VfConfig::parse(&keys, PATH, Accepted::WithSriovnetwork).map_err(|mistakes| lines(&mistakes))
}

#[test]
fn each_key_has_a_meaning() {
    let config = parse(json!({
        "driver": "vfio-pci", "addVhostMount": true, "ifName": "net1",
        "netAttachDefName": "market-data", "netAttachDefNamespace": "trading",
    }));
    let expected = VfConfig {
        network: Some("trading/market-data".parse().unwrap()),
        if_name: Some("net1".parse().unwrap()),
        driver: Some(vfio()),
        vhost_net: Some(true),
        env: BTreeMap::new(),
    };
    assert_eq!(config.unwrap(), expected);
    let config = parse(json!({ "netAttachDefName": "market-data", "driver": "default" }));
    let expected = VfConfig {
        network: Some("market-data".parse().unwrap()),
        driver: Some(WishedDriver::Network),
        ..VfConfig::default()
    };
    assert_eq!(config.unwrap(), expected);
}

#[test]
fn empty_texts_and_null_are_absent() {
    for value in [json!(""), Value::Null] {
        let config = parse(json!({
            "driver": value, "ifName": value, "netAttachDefName": value, "netAttachDefNamespace": value,
            "addVhostMount": null,
        }));
        assert_eq!(config.unwrap(), VfConfig::default());
    }
}

#[test]
fn claim_overrides_class_in_either_spelling() {
    let class = json!({ "netAttachDefName": "a", "netAttachDefNamespace": "n", "driver": "default", "addVhostMount": true });
    let class = parse(class).unwrap();
    for (claim, expected) in [
        (
            json!({ "driver": "vfio-pci" }),
            (Some(vfio()), Some(true), "n/a"),
        ),
        (
            json!({ "addVhostMount": false }),
            (Some(WishedDriver::Network), Some(false), "n/a"),
        ),
        // A namespace belongs to its name.
        (
            json!({ "netAttachDefName": "b" }),
            (Some(WishedDriver::Network), Some(true), "b"),
        ),
    ] {
        let merged = class.clone().overridden_by(parse(claim.clone()).unwrap());
        let network = merged.network.unwrap().to_string();
        assert_eq!(
            (merged.driver, merged.vhost_net, &*network),
            expected,
            "{claim}"
        );
    }
    let own = super::parse(json!({ "network": "n/own", "env": { "A": "1" } })).unwrap();
    let merged = class.overridden_by(own);
    assert_eq!(merged.network.unwrap().to_string(), "n/own");
    assert_eq!((merged.vhost_net, merged.env.len()), (Some(true), 1));
}

#[test]
fn all_mistakes_are_reported_with_their_paths() {
    let found = parse(json!({
        "driver": "mlx5_core", "addVhostMount": "yes", "ifname": "net1", "network": "a", "ifName": "a/b",
        "netAttachDefName": "trading/market-data", "netAttachDefNamespace": 5, "env": {},
    }));
    let found = found.unwrap_err();
    let expected = [
        "env: unknown key: expected one of apiVersion, kind, driver, addVhostMount, ifName, netAttachDefName, netAttachDefNamespace",
        "ifname: unknown key: did you mean `ifName`?",
        "network: unknown key: expected one of apiVersion, kind, driver, addVhostMount, ifName, netAttachDefName, netAttachDefNamespace",
        "driver: `mlx5_core` is not a driver for programs: expected vfio-pci, a name that ends with vfio-pci or vfio_pci, igb_uio or uio_pci_generic",
        "netAttachDefName: `trading/market-data` is not the name of an object: expected lower-case letters, digits, `-` and `.`",
        "netAttachDefNamespace: `5` is not a string",
        "addVhostMount: `\"yes\"` is not true or false",
    ];
    for line in expected {
        let line = format!("{PATH}.{line}");
        assert!(
            found.iter().any(|one| one.starts_with(&line)),
            "{line}: {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
    let lonely = parse(json!({ "netAttachDefNamespace": "trading" }));
    assert_eq!(lonely.unwrap(), VfConfig::default());
}

#[test]
fn they_are_refused_without_the_option() {
    let keys = json!({ "apiVersion": VERSION, "kind": KIND, "netAttachDefName": "a" });
    let refused = VfConfig::parse(&keys, PATH, Accepted::Own).unwrap_err();
    assert_eq!(
        lines(&refused),
        [format!(
            "{PATH}.apiVersion: these are parameters of dra-driver-sriov, which are accepted with --sriovnetwork-names=true"
        )]
    );
    // Another version of theirs is not ours either.
    let keys = json!({ "apiVersion": VERSION.replace("v1alpha1", "v1"), "kind": KIND });
    let refused = VfConfig::parse(&keys, PATH, Accepted::WithSriovnetwork).unwrap_err();
    assert!(lines(&refused)[0].contains("is not `sriov.virtfn.dev/v1alpha1`"));
}
