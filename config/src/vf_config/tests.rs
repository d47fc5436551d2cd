//! Parameters as users write them, and each mistake with its path.

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod sriovnetwork;

const PATH: &str = "config[1].opaque.parameters";

fn parse(keys: Value) -> Result<VfConfig, Vec<String>> {
    let mut keys = keys;
    keys["apiVersion"] = json!(API_VERSION);
    keys["kind"] = json!(KIND);
    VfConfig::parse(&keys, PATH, Accepted::Own).map_err(|mistakes| lines(&mistakes))
}

fn vfio() -> WishedDriver {
    WishedDriver::User("vfio-pci".parse().unwrap())
}

fn lines(mistakes: &Mistakes) -> Vec<String> {
    mistakes.0.iter().map(ToString::to_string).collect()
}

#[test]
fn all_wishes_are_read() {
    let config = parse(json!({
        "network": "trading/market-data", "ifName": "md0", "driver": "vfio-pci", "env": { "FEED": "a", "_X1": "" },
    }));
    let config = config.unwrap();
    assert_eq!(
        config.network.as_ref().unwrap().to_string(),
        "trading/market-data"
    );
    assert_eq!(config.if_name.as_ref().unwrap().as_str(), "md0");
    assert_eq!(config.driver, Some(vfio()));
    assert_eq!(config.env.len(), 2);
    assert_eq!(parse(json!({})).unwrap(), VfConfig::default());
    let network = parse(json!({ "network": "market-data" }))
        .unwrap()
        .network
        .unwrap();
    assert_eq!((network.namespace, &*network.name), (None, "market-data"));
}

#[test]
fn later_configuration_wins_key_by_key() {
    let class = parse(json!({ "network": "a/b", "ifName": "net7", "env": { "A": "1", "B": "1" } }))
        .unwrap();
    let claim = parse(json!({ "network": "c", "env": { "B": "2" } })).unwrap();
    let merged = class.clone().overridden_by(claim);
    let expected =
        parse(json!({ "network": "c", "ifName": "net7", "env": { "A": "1", "B": "2" } }));
    assert_eq!(merged, expected.unwrap());
    assert_eq!(class.clone().overridden_by(VfConfig::default()), class);
}

#[test]
fn all_mistakes_are_reported_with_their_paths() {
    let mistakes = VfConfig::parse(
        &json!({
            "apiVersion": "sriov.virtfn.dev/v1",
            "network": "a/b/c", "ifName": "a name", "driver": "nvme", "ifname": "x", "vlan": 7,
            "env": { "1A": "x", "PCIDEVICE_X": "y", "N": 5 },
        }),
        PATH,
        Accepted::WithSriovnetwork,
    );
    let expected = [
        "ifname: unknown key: did you mean `ifName`?",
        "vlan: unknown key: expected one of apiVersion, kind, network, ifName, driver, env",
        "apiVersion: `\"sriov.virtfn.dev/v1\"` is not `sriov.virtfn.dev/v1alpha1`",
        "kind: it is missing, expected `VfConfig`",
        "network: `a/b/c` is not the name of a network: expected `name` or `namespace/name`, each of lower-case letters, digits, `-` and `.`",
        "driver: `nvme` is not a driver for programs: expected vfio-pci, a name that ends with vfio-pci or vfio_pci, igb_uio or uio_pci_generic",
        "env.1A: the name of a variable consists of letters, digits and `_`, and does not begin with a digit",
        "env.N: `5` is not a string: write it in quotes",
        "env.PCIDEVICE_X: variables that begin with `PCIDEVICE_` name the devices of the container",
    ];
    let found = lines(&mistakes.unwrap_err());
    for line in expected {
        let line = format!("{PATH}.{line}");
        assert!(found.contains(&line), "{line}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len() + 1, "{found:#?}");
}

#[test]
fn parameters_that_are_no_object_are_a_mistake() {
    for value in [json!(null), json!("x"), json!([])] {
        assert_eq!(
            lines(&VfConfig::parse(&value, PATH, Accepted::Own).unwrap_err()),
            [format!("{PATH}: `{value}` is not an object")]
        );
    }
}

proptest! {
    #[test]
    fn names_round_trip_and_arbitrary_text_never_panics(text in "[a-z0-9./-]{0,20}|.{0,20}") {
        if let Ok(name) = text.parse::<NetworkName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(driver) = text.parse::<UserDriver>() {
            prop_assert_eq!(driver.as_str(), text);
        }
    }
}
