//! Slices by PF and by resource, what is published of unhealthy and held devices, and what is kept of a held one.

use std::collections::BTreeSet;

use sriov_config::resource_list::{PfHealth, Publish};
use sriov_host::snapshot::{LinkType, PciId};
use sriov_inventory::owners::{ClaimHolder, PodDevices, PodHolder};
use sriov_inventory::pool::{Extras, Pf};

use super::*;
use crate::publish::device::Value;

/// A VF of PF `0000:<bus>:00.0`.
fn vf(bus: u8, index: u8) -> PoolDevice {
    let (slot, function) = (16 + index / 8, index % 8);
    PoolDevice {
        id: format!("0000:{bus:02x}:{slot:02x}.{function}")
            .parse()
            .unwrap(),
        driver: "iavf".into(),
        pcie_root: "pci0000:00".parse().ok(),
        numa_node: Some(u32::from(bus > 0x80)),
        pf: Some(Arc::new(Pf {
            address: format!("0000:{bus:02x}:00.0").parse().unwrap(),
            name: Some("ens1f0".parse().unwrap()),
            vendor: PciId(0x8086),
            device: PciId(0x1572),
            speed: Some(10_000),
            is_switchdev: false,
        })),
        vendor: PciId(0x8086),
        device: PciId(0x154c),
        vf_index: Some(sriov_host::VfIndex::new(u16::from(index))),
        link_type: Some(LinkType::Ether),
        has_rdma: false,
        representor: None,
        extras: Extras::default(),
    }
}

fn pool(devices: Vec<PoolDevice>) -> Pool {
    Pool {
        name: ResourceName::new("x.y", "vf").unwrap(),
        pf_health: PfHealth::default(),
        publish: Publish::Dra,
        additional_info: Arc::default(),
        devices: Arc::new(devices),
        unhealthy: BTreeMap::new(),
    }
}

/// A node with one pool, and its desired slices.
struct Node {
    desired: Desired,
    pools: Pools,
    policy: AllocationPolicy,
    owners: Owners,
    keeps_taints: bool,
}

impl Node {
    fn new(devices: Vec<PoolDevice>) -> Self {
        let pools = Pools {
            pools: vec![pool(devices)],
            ..Pools::default()
        };
        let owners = Owners {
            pods: Some(PodDevices::default()),
            ..Owners::default()
        };
        Self {
            desired: Desired::new("d.x".parse().unwrap(), false),
            pools,
            policy: AllocationPolicy::Packed,
            owners,
            keeps_taints: true,
        }
    }

    fn slices(&mut self) -> Slices {
        let policies = self.pools.pools.iter();
        let policies = policies.map(|pool| (pool.name.clone(), self.policy));
        self.desired.slices(Offered {
            pools: &self.pools,
            policies: &policies.collect(),
            owners: &self.owners,
            keeps_taints: self.keeps_taints,
        })
    }

    fn device(&mut self, name: &str) -> Option<Arc<Device>> {
        let slices = self.slices();
        let mut devices = slices.values().flat_map(|content| content.iter());
        devices.find(|device| device.name == name).cloned()
    }

    fn change(&mut self, change: impl FnOnce(&mut Pool)) {
        change(&mut self.pools.pools[0]);
    }

    fn prepare(&mut self, id: &str) {
        let claim = Holder::from(ClaimHolder {
            resource: "x.y/vf".to_owned(),
            namespace: "ns".to_owned(),
            name: "c".to_owned(),
            uid: "u".to_owned(),
        });
        self.owners.claims.insert(id.parse().unwrap(), vec![claim]);
    }
}

const ID: &str = "0000:01:10.0";
const NAME: &str = "0000-01-10-0";

/// Sizes of the slices in their order, and the first device of each.
fn check(node: &mut Node, expected: &[(usize, &str)]) {
    let slices = node.slices();
    let first = |content: &Content| {
        content
            .first()
            .map_or("", |device| device.name.as_str())
            .to_owned()
    };
    let found: Vec<(usize, String)> = slices
        .values()
        .map(|content| (content.len(), first(content)))
        .collect();
    let expected: Vec<(usize, String)> = expected
        .iter()
        .map(|(size, first)| (*size, (*first).to_owned()))
        .collect();
    assert_eq!(found, expected);
    let names: BTreeSet<&str> = slices
        .values()
        .flat_map(|content| content.iter().map(|device| device.name.as_str()))
        .collect();
    let all: usize = slices.values().map(|content| content.len()).sum();
    assert_eq!(names.len(), all, "a name occurs twice");
}

#[test]
fn each_pf_has_its_slices_in_the_order_of_numa_nodes() {
    let far = (0..3).map(|index| vf(0x81, index));
    let near = (0..100).map(|index| vf(0x01, index));
    let mut node = Node::new(far.chain(near).collect());
    let expected = [(64, NAME), (36, "0000-01-18-0"), (3, "0000-81-10-0")];
    check(&mut node, &expected);
    check(&mut Node::new(Vec::new()), &[(0, "")]);
}

#[test]
fn spread_resource_takes_devices_of_each_pf_in_turn() {
    let devices = [0x01, 0x81].into_iter();
    let devices = devices.flat_map(|bus| (0..2).map(move |index| vf(bus, index)));
    let mut node = Node::new(devices.collect());
    node.policy = AllocationPolicy::Spread;
    let slices = node.slices();
    let content = slices.values().next().unwrap();
    let names: Vec<&str> = content.iter().map(|device| device.name.as_str()).collect();
    let expected = [NAME, "0000-81-10-0", "0000-01-10-1", "0000-81-10-1"];
    assert_eq!(names, expected);
}

#[test]
fn removed_vf_does_not_move_the_others() {
    let devices: Vec<PoolDevice> = (0..100).map(|index| vf(1, index)).collect();
    let mut node = Node::new(devices.clone());
    let before = node.slices();
    node.change(|pool| pool.devices = Arc::new(devices[1..].to_vec()));
    let after = node.slices();
    let changed = before
        .iter()
        .filter(|(key, content)| after.get(*key) != Some(content));
    assert_eq!(changed.count(), 1);
}

fn assert_attributes(device: &Device, expected: &[(&str, Value)]) {
    for (name, value) in expected {
        assert_eq!(device.attributes.get(*name), Some(value), "{name}");
    }
}

#[test]
fn attributes_hold_what_claims_select_by() {
    let mut node = Node::new(vec![vf(1, 9)]);
    let device = node.device("0000-01-11-1").unwrap();
    let text = |value: &str| Value::Text(value.to_owned());
    let expected = [
        ("resource.kubernetes.io/pciBusID", text("0000:01:11.1")),
        ("resource.kubernetes.io/pcieRoot", text("pci0000:00")),
        ("resource.kubernetes.io/numaNode", Value::Int(0)),
        ("k8s.cni.cncf.io/deviceID", text("0000:01:11.1")),
        ("k8s.cni.cncf.io/resourceName", text("x.y/vf")),
        ("pfName", text("ens1f0")),
        ("pfPciAddress", text("0000:01:00.0")),
        ("pfDevice", text("1572")),
        ("speedMbps", Value::Int(10_000)),
        ("switchdev", Value::Bool(false)),
        ("vfIndex", Value::Int(9)),
        ("vendor", text("8086")),
        ("device", text("154c")),
        ("driver", text("iavf")),
        ("linkType", text("ether")),
        ("rdma", Value::Bool(false)),
    ];
    assert_attributes(&device, &expected);
    let mut without_node = vf(1, 0);
    without_node.numa_node = None;
    let device = Node::new(vec![without_node]).device(NAME).unwrap();
    assert!(
        !device
            .attributes
            .contains_key("resource.kubernetes.io/numaNode")
    );
}

#[test]
fn names_of_the_go_driver_are_added_on_request() {
    let mut node = Node::new(vec![vf(1, 3)]);
    node.desired = Desired::new(
        "sriovnetwork.k8snetworkplumbingwg.io".parse().unwrap(),
        true,
    );
    let device = node.device("0000-01-10-3").unwrap();
    let text = |value: &str| Value::Text(value.to_owned());
    let expected = [
        ("pciAddress", text("0000:01:10.3")),
        ("PFName", text("ens1f0")),
        ("pfPciAddress", text("0000:01:00.0")),
        ("pfDeviceID", text("1572")),
        ("deviceID", text("154c")),
        ("vendor", text("8086")),
        ("vfID", Value::Int(3)),
        ("EswitchMode", text("legacy")),
        ("linkType", text("ethernet")),
        ("rdmaCapable", Value::Bool(false)),
        ("resourceName", text("vf")),
        ("dra.net/numaNode", Value::Int(0)),
        ("k8s.cni.cncf.io/resourceName", text("x.y/vf")),
    ];
    assert_attributes(&device, &expected);
    assert!(device.attributes.len() <= 32, "{}", device.attributes.len());
}

#[test]
fn unhealthy_device_is_tainted_with_the_reason() {
    let mut node = Node::new(vec![vf(1, 0)]);
    let why = Unhealthy::PfWithoutCarrier("ens1f0".to_owned());
    node.change(|pool| drop(pool.unhealthy.insert(ID.parse().unwrap(), why)));
    let taint = Taint {
        key: "d.x/unhealthy".to_owned(),
        value: "pf-without-carrier".to_owned(),
    };
    assert_eq!(node.device(NAME).unwrap().taints, [taint]);
}

#[test]
fn without_taints_only_free_unhealthy_devices_are_left_out() {
    let mut node = Node::new(vec![vf(1, 0)]);
    node.keeps_taints = false;
    let why = Unhealthy::Dirty;
    node.change(|pool| drop(pool.unhealthy.insert(ID.parse().unwrap(), why)));
    assert_eq!(node.device(NAME), None);
    node.prepare(ID);
    assert_eq!(node.device(NAME).unwrap().taints, []);
    // Until the kubelet answered, the device may be allocated.
    node.owners = Owners::default();
    assert!(node.device(NAME).is_some());
}

#[test]
fn device_of_a_device_plugin_pod_is_tainted_until_it_ends() {
    let mut node = Node::new(vec![vf(1, 0)]);
    let pod = Holder::from(PodHolder {
        resource: "x.y/vf".to_owned(),
        namespace: "ns".to_owned(),
        pod: "p".to_owned(),
        container: "c".to_owned(),
    });
    let pods = node.owners.pods.as_mut().unwrap();
    pods.holders.insert(ID.parse().unwrap(), vec![pod]);
    let taints = node.device(NAME).unwrap().taints.clone();
    assert_eq!(taints[0].key, "d.x/held-by-device-plugin");
    node.owners.pods = Some(PodDevices::default());
    assert_eq!(node.device(NAME).unwrap().taints, []);
}

#[test]
fn held_device_keeps_the_attributes_that_it_had() {
    let mut node = Node::new(vec![vf(1, 0)]);
    let before = node.device(NAME).unwrap();
    node.prepare(ID);
    let mut changed = vf(1, 0);
    (changed.driver, changed.link_type) = ("vfio-pci".into(), None);
    node.change(|pool| pool.devices = Arc::new(vec![changed]));
    assert_eq!(node.device(NAME).unwrap().attributes, before.attributes);
    node.owners.claims.clear();
    let after = node.device(NAME).unwrap();
    let driver = Value::Text("vfio-pci".to_owned());
    assert_eq!(after.attributes.get("driver"), Some(&driver));
}

#[test]
fn device_that_vanished_stays_while_a_claim_has_it() {
    let mut node = Node::new(vec![vf(1, 0)]);
    let before = node.device(NAME).unwrap();
    node.prepare(ID);
    node.change(|pool| {
        pool.devices = Arc::default();
        pool.unhealthy.insert(ID.parse().unwrap(), Unhealthy::Gone);
    });
    let after = node.device(NAME).unwrap();
    assert_eq!(after.attributes, before.attributes);
    assert_eq!(after.taints[0].value, "gone");
    node.change(|pool| pool.unhealthy.clear());
    assert_eq!(node.device(NAME), None);
}

#[test]
fn new_process_takes_held_devices_from_the_slices() {
    let mut old = Node::new(vec![vf(1, 0)]);
    let slices = old.slices();
    let mut new = Node::new(Vec::new());
    new.desired.recall(slices.iter());
    new.prepare(ID);
    let gone = |pool: &mut Pool| drop(pool.unhealthy.insert(ID.parse().unwrap(), Unhealthy::Gone));
    new.change(gone);
    let recalled = new.device(NAME).unwrap();
    assert_eq!(
        recalled.attributes.get("driver"),
        Some(&Value::Text("iavf".to_owned()))
    );
    // Without a slice, the identity remains.
    let mut empty = Node::new(Vec::new());
    empty.prepare(ID);
    empty.change(gone);
    let device = empty.device(NAME).unwrap();
    let id = Value::Text(ID.to_owned());
    assert_eq!(device.attributes.get("k8s.cni.cncf.io/deviceID"), Some(&id));
}

#[test]
fn speed_stays_while_the_link_is_down() {
    let mut node = Node::new(vec![vf(1, 0)]);
    let before = node.device(NAME).unwrap();
    let mut dark = vf(1, 0);
    let mut pf = dark.pf.as_deref().unwrap().clone();
    pf.speed = None;
    dark.pf = Some(Arc::new(pf));
    node.change(|pool| pool.devices = Arc::new(vec![dark]));
    assert_eq!(node.device(NAME).unwrap(), before);
}
