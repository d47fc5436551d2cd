//! The attributes of a device: only facts that stay true while a pod has it.
//!
//! The MAC address, the MTU, the name of the VF's network device and its state change with the pod, and are in `status.devices` of the claim.

use std::collections::BTreeMap;

use sriov_host::snapshot::LinkType;
use sriov_inventory::id::DeviceId;
use sriov_inventory::pool::{Pool, PoolDevice};

use super::device::{LONGEST_TEXT, Value};

/// Standard attributes (`k8s.io/dynamic-resource-allocation`, `deviceattribute`).
const BUS_ID: &str = "resource.kubernetes.io/pciBusID";
const PCIE_ROOT: &str = "resource.kubernetes.io/pcieRoot";
const NUMA_NODE: &str = "resource.kubernetes.io/numaNode";
/// The attributes by which Multus finds the device of a claim.
const DEVICE_ID: &str = "k8s.cni.cncf.io/deviceID";
const RESOURCE_NAME: &str = "k8s.cni.cncf.io/resourceName";

/// The NUMA node in `dra-driver-sriov`, -1 without one.
const THEIR_NUMA_NODE: &str = "dra.net/numaNode";

/// Speed of the PF's link. A link that is down has none: the last one stays.
pub(super) const SPEED: &str = "speedMbps";

/// The attributes so far.
#[derive(Default)]
struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    /// Adds a text; one that is too long for the API server is left out.
    fn text(&mut self, name: &str, value: &impl ToString) {
        let value = value.to_string();
        if value.len() <= LONGEST_TEXT {
            self.0.insert(name.to_owned(), Value::Text(value));
        }
    }

    fn int(&mut self, name: &str, value: impl Into<i64>) {
        self.0.insert(name.to_owned(), Value::Int(value.into()));
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.0.insert(name.to_owned(), Value::Bool(value));
    }
}

/// The attributes of a device; with `is_compatible` those of `dra-driver-sriov` as well.
pub(super) fn attributes(
    pool: &Pool,
    device: &PoolDevice,
    is_compatible: bool,
) -> BTreeMap<String, Value> {
    let mut all = identity(pool, &device.id);
    if let Some(root) = device.pcie_root {
        all.text(PCIE_ROOT, &root);
    }
    if let Some(node) = device.numa_node {
        all.int(NUMA_NODE, node);
    }
    if let Some(pf) = &device.pf {
        all.text("pfPciAddress", &pf.address);
        all.text("pfDevice", &pf.device);
        all.flag("switchdev", pf.is_switchdev);
        if let Some(name) = &pf.name {
            all.text("pfName", name);
        }
        if let Some(speed) = pf.speed {
            all.int(SPEED, speed);
        }
    }
    if let Some(index) = device.vf_index {
        all.int("vfIndex", index.get());
    }
    all.text("vendor", &device.vendor);
    all.text("device", &device.device);
    all.text("driver", &device.driver);
    if let Some(kind) = device.link_type {
        all.text("linkType", &kind);
    }
    all.flag("rdma", device.has_rdma);
    if is_compatible {
        compatible(&mut all, pool, device);
    }
    all.0
}

/// The attributes of a device of which nothing else is known: it is gone, and a claim has it.
pub(super) fn of_gone(pool: &Pool, id: &DeviceId) -> BTreeMap<String, Value> {
    identity(pool, id).0
}

fn identity(pool: &Pool, id: &DeviceId) -> Attributes {
    let mut all = Attributes::default();
    if let Some(address) = id.address() {
        all.text(BUS_ID, &address);
    }
    all.text(DEVICE_ID, &id);
    all.text(RESOURCE_NAME, &pool.name);
    all
}

/// The names and values of `dra-driver-sriov` (`pkg/consts`, `pkg/devicestate/discovery.go`), for claims and classes that were written for it.
fn compatible(all: &mut Attributes, pool: &Pool, device: &PoolDevice) {
    all.text("pciAddress", &device.id);
    // Its resource names have no prefix.
    let resource = pool.name.to_string();
    let (_, name) = resource.split_once('/').unwrap_or(("", &resource));
    all.text("resourceName", &name);
    // Both drivers have this attribute, with other words.
    all.text("linkType", &link_type(device.link_type));
    all.int(THEIR_NUMA_NODE, device.numa_node.map_or(-1, i64::from));
    all.text("deviceID", &device.device);
    all.flag("rdmaCapable", device.has_rdma);
    if let Some(pf) = &device.pf {
        all.text("pfDeviceID", &pf.device);
        let mode = if pf.is_switchdev {
            "switchdev"
        } else {
            "legacy"
        };
        all.text("EswitchMode", &mode);
        if let Some(name) = &pf.name {
            all.text("PFName", name);
        }
    }
    if let Some(index) = device.vf_index {
        all.int("vfID", index.get());
    }
}

/// The word of `dra-driver-sriov` for a type of link.
fn link_type(kind: Option<LinkType>) -> &'static str {
    match kind {
        Some(LinkType::Ether) => "ethernet",
        Some(LinkType::Infiniband) => "infiniband",
        Some(LinkType::Other(_)) | None => "unknown",
    }
}
