//! Tests of the record of a new claim.

use sriov_config::resource_list::{PfHealth, Publish, ResourceName};
use sriov_device_info::claims::ClaimRef;
use sriov_inventory::unhealthy::Unhealthy;

use super::*;
use crate::state::examples;

const VF: &str = "0000:01:10.0";

fn claim(config: VfConfig, device: &str) -> AllocatedClaim {
    let example = examples::claim();
    AllocatedClaim {
        claim: example.claim,
        pod: example.pod,
        pod_claim_name: None,
        is_extended: false,
        devices: vec![AllocatedDevice {
            request: "vf".into(),
            device: device.into(),
            config,
        }],
    }
}

fn pools(ids: &[&str]) -> Pools {
    let pool = Pool {
        name: ResourceName::new("example.com", "vf").unwrap(),
        publish: Publish::Dra,
        pf_health: PfHealth::Carrier,
        additional_info: std::sync::Arc::default(),
        devices: std::sync::Arc::default(),
        // A pool lists a device that is held and was removed as unhealthy.
        unhealthy: ids
            .iter()
            .map(|id| (id.parse().unwrap(), Unhealthy::Gone))
            .collect(),
    };
    Pools {
        pools: vec![pool],
        ..Pools::default()
    }
}

/// Plans a claim whose device is in the pool and healthy.
fn healthy(
    claim: &AllocatedClaim,
    owners: &Owners,
    driver: Option<&str>,
) -> Result<ClaimState, Vec<String>> {
    let mut pools = pools(&[]);
    let device = PoolDevice::example(VF.parse().unwrap());
    pools.pools[0].devices = vec![device].into();
    let node = Node {
        name: &"node-1".parse().unwrap(),
        pools: &pools,
        owners,
        drivers: &[(VF.parse().unwrap(), driver.map(str::to_owned))].into(),
        has_sriovnetwork_names: true,
    };
    plan(claim, &node).map_err(|refusals| refusals.iter().map(ToString::to_string).collect())
}

fn with_driver() -> VfConfig {
    VfConfig {
        driver: Some(WishedDriver::User("vfio-pci".parse().unwrap())),
        ..VfConfig::default()
    }
}

#[test]
fn network_without_namespace_is_in_that_of_the_claim() {
    for (text, expected) in [("a", "trading/a"), ("default/a", "default/a")] {
        let config = VfConfig {
            network: Some(text.parse().unwrap()),
            ..VfConfig::default()
        };
        let state = healthy(&claim(config, "0000-01-10-0"), &Owners::default(), None).unwrap();
        let network = state.devices[0].network.clone().unwrap();
        assert_eq!(format!("{}/{}", network.namespace, network.name), expected);
        assert_eq!(
            (state.devices[0].id.as_str(), state.is_prepared),
            (VF, false)
        );
    }
}

#[test]
fn driver_of_the_device_is_recorded_before_it_is_replaced() {
    let claim = claim(with_driver(), "0000-01-10-0");
    for (now, expected) in [
        (Some("igbvf"), Some(Some("igbvf"))),
        (None, Some(None)),
        (Some("vfio-pci"), None),
    ] {
        let state = healthy(&claim, &Owners::default(), now).unwrap();
        let rebound = state.devices[0].rebound.as_ref();
        assert_eq!(
            rebound.map(|rebound| rebound.own.as_deref()),
            expected,
            "{now:?}"
        );
    }
}

#[test]
fn wish_for_a_network_device_keeps_its_driver() {
    let config = VfConfig {
        driver: Some(WishedDriver::Network),
        ..VfConfig::default()
    };
    let claim = claim(config, "0000-01-10-0");
    for now in [Some("igbvf"), Some("mlx5_core"), None] {
        let state = healthy(&claim, &Owners::default(), now).unwrap();
        assert_eq!(state.devices[0].rebound, None, "{now:?}");
    }
    let refused = healthy(&claim, &Owners::default(), Some("vfio-pci")).unwrap_err();
    assert_eq!(
        refused,
        [
            "device `0000-01-10-0` has the driver `vfio-pci`, and the claim wishes the driver of a network device, which this driver does not bind"
        ]
    );
}

#[test]
fn variables_of_the_go_driver_are_added_on_request() {
    let config = VfConfig {
        network: Some("default/a".parse().unwrap()),
        vhost_net: Some(true),
        env: [("SRIOVNETWORK_PCI_ADDRESSES".to_owned(), "own".to_owned())].into(),
        ..VfConfig::default()
    };
    let state = healthy(&claim(config, "0000-01-10-0"), &Owners::default(), None).unwrap();
    let device = &state.devices[0];
    let env = device.env.iter();
    let env: Vec<String> = env.map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        env,
        [
            "SRIOVNETWORK_NET_ATTACH_DEF_NAME=a",
            "SRIOVNETWORK_PCI_ADDRESSES=own",
            "SRIOVNETWORK_VF_DEVICE_0000_01_10_0=0000:01:10.0",
        ]
    );
    assert!(device.vhost_net);
}

#[test]
fn attached_vf_is_refused_but_not_one_without_addresses() {
    let claim = claim(VfConfig::default(), "0000-01-10-0");
    let owners = |attachment| Owners {
        attachments: [(VF.parse().unwrap(), attachment)].into(),
        ..Owners::default()
    };
    let refused = healthy(&claim, &owners(Attachment::Attached), None).unwrap_err();
    assert!(
        refused[0].contains("is attached to a container"),
        "{refused:?}"
    );
    healthy(&claim, &owners(Attachment::Unfinished), None).unwrap();
}

#[test]
fn unhealthy_and_unknown_devices_are_refused() {
    let pools = pools(&[VF]);
    let node = Node {
        name: &"node-1".parse().unwrap(),
        pools: &pools,
        owners: &Owners::default(),
        drivers: &BTreeMap::new(),
        has_sriovnetwork_names: false,
    };
    for (device, expected) in [
        ("0000-01-10-0", "device `0000-01-10-0`: it is gone"),
        (
            "0000-01-10-9",
            "device `0000-01-10-9` is in no pool that this driver publishes",
        ),
    ] {
        let refusals = plan(&claim(VfConfig::default(), device), &node).unwrap_err();
        let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [expected]);
    }
}

#[test]
fn subfunction_keeps_its_driver() {
    let mut pools = pools(&[]);
    let mut device = PoolDevice::example(VF.parse().unwrap());
    device.id = "mlx5_core.sf.4".parse().unwrap();
    pools.pools[0].devices = vec![device].into();
    let node = Node {
        name: &"node-1".parse().unwrap(),
        pools: &pools,
        owners: &Owners::default(),
        drivers: &BTreeMap::new(),
        has_sriovnetwork_names: false,
    };
    let refusals = plan(&claim(with_driver(), "mlx5-core-sf-4"), &node).unwrap_err();
    assert!(
        refusals[0].to_string().contains("is not a PCI function"),
        "{refusals:?}"
    );
}

#[test]
fn claim_that_already_holds_the_device_may_have_it() {
    let claim = claim(VfConfig::default(), "0000-01-10-0");
    let ClaimRef {
        namespace,
        name,
        uid,
    } = claim.claim.clone();
    let holder = |name: &str, uid: &str| {
        let holder = sriov_inventory::owners::ClaimHolder {
            resource: "r".into(),
            namespace: namespace.clone(),
            name: name.into(),
            uid: uid.into(),
        };
        Owners {
            claims: [(VF.parse().unwrap(), vec![Holder::from(holder)])].into(),
            ..Owners::default()
        }
    };
    healthy(&claim, &holder(&name, &uid), None).unwrap();
    // The kubelet's answer has no UID.
    healthy(&claim, &holder(&name, ""), None).unwrap();
    for other in [holder(&name, "another"), holder("other", "")] {
        let refused = healthy(&claim, &other, None).unwrap_err();
        assert!(
            refused[0].contains("is held by claim trading/"),
            "{refused:?}"
        );
    }
}
