//! Claims for the tests of this package.

use serde_json::json;
use sriov_device_info::info::Pci;

use super::*;

/// A prepared claim with two devices: one attached by the CNI plugin, one with a driver for programs.
pub(crate) fn claim() -> ClaimState {
    let device = |request: &str, address: &str| DeviceState {
        request: request.into(),
        pool: "node-1".into(),
        name: address.replace([':', '.'], "-"),
        id: address.into(),
        resource: "example.com/trading".into(),
        network: None,
        ifname: None,
        vhost_net: false,
        env: BTreeMap::new(),
        rebound: None,
        share: ShareState {
            providers: Map::from_iter([("generic".into(), json!({ "deviceID": address }))]),
            nodes: Vec::new(),
            info: Some(DeviceInfo::pci(Pci {
                pci_address: address.into(),
                ..Pci::default()
            })),
        },
    };
    let mut with_driver = device("dpdk", "0000:01:10.2");
    with_driver.vhost_net = true;
    with_driver.env.insert("FEED".into(), "a".into());
    with_driver.rebound = Some(Rebound {
        own: Some("igbvf".into()),
        bound: "vfio-pci".into(),
    });
    with_driver.share.nodes = vec![("/dev/vfio/noiommu-7".into(), "/dev/vfio/7".into())];
    ClaimState {
        is_prepared: true,
        claim: ClaimRef {
            namespace: "trading".into(),
            name: "two-vfs".into(),
            uid: "11111111-2222-3333-4444-555555555555".into(),
        },
        pod: PodRef {
            namespace: "trading".into(),
            name: "app-0".into(),
            uid: "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11".parse().unwrap(),
        },
        pod_claim_name: None,
        is_extended: false,
        devices: vec![
            DeviceState {
                network: Some(NetworkRef {
                    namespace: "trading".into(),
                    name: "market-data".into(),
                }),
                ifname: Some("md0".parse().unwrap()),
                ..device("vf", "0000:01:10.0")
            },
            with_driver,
        ],
    }
}
