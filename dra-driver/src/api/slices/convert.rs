//! Between our slices and those of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::resource::v1::{
    Device as ApiDevice, DeviceAttribute, DeviceTaint, ResourcePool, ResourceSlice,
    ResourceSliceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::Publisher;
use crate::publish::device::{Content, Device, SliceKey, Taint, Value};
use crate::publish::plan::{Existing, ObjectId, Written};

/// The only effect that is used: pods that run stay.
const NO_SCHEDULE: &str = "NoSchedule";

/// A slice to write: a new one without id, or the next state of an existing one.
pub(super) fn slice(
    publisher: &Publisher,
    id: Option<&ObjectId>,
    written: &Written,
) -> ResourceSlice {
    let Publisher { driver, node, .. } = publisher;
    let generate_name = id
        .is_none()
        .then(|| format!("{}-{driver}-{node}-", written.key));
    let metadata = ObjectMeta {
        generate_name,
        name: id.map(|id| id.name.clone()),
        uid: id.map(|id| id.uid.clone()),
        resource_version: id.map(|id| id.version.clone()),
        owner_references: Some(vec![owner(publisher)]),
        ..ObjectMeta::default()
    };
    let devices = written.content.iter().map(|device| to_api(device));
    ResourceSlice {
        metadata,
        spec: ResourceSliceSpec {
            driver: driver.to_string(),
            node_name: Some(node.to_string()),
            pool: ResourcePool {
                name: node.to_string(),
                generation: written.generation,
                resource_slice_count: written.count,
            },
            devices: Some(devices.collect()),
            ..ResourceSliceSpec::default()
        },
    }
}

/// A slice that shows whether the server stores taints.
pub(super) fn probe(publisher: &Publisher) -> ResourceSlice {
    let device = Device {
        name: "probe".to_owned(),
        attributes: BTreeMap::new(),
        taints: vec![Taint {
            key: format!("{}/unhealthy", publisher.driver),
            value: "probe".to_owned(),
        }],
    };
    let written = Written {
        key: SliceKey::empty(),
        generation: 1,
        count: 1,
        content: Arc::new(vec![Arc::new(device)]),
    };
    slice(publisher, None, &written)
}

/// Whether a device of the slice has a taint.
pub(super) fn has_taint(slice: &ResourceSlice) -> bool {
    let mut devices = slice.spec.devices.iter().flatten();
    devices.any(|device| {
        device
            .taints
            .as_ref()
            .is_some_and(|taints| !taints.is_empty())
    })
}

/// A slice of the server. What this driver never writes makes it a slice without content, which is written again.
pub(super) fn existing(publisher: &Publisher, slice: ResourceSlice) -> Existing {
    let ResourceSlice { metadata, mut spec } = slice;
    let node = publisher.node.as_str();
    let name = metadata.name.unwrap_or_default();
    let devices = spec.devices.take().unwrap_or_default();
    let expected = ResourceSliceSpec {
        driver: publisher.driver.to_string(),
        node_name: Some(node.to_owned()),
        pool: spec.pool.clone(),
        ..ResourceSliceSpec::default()
    };
    let owners = metadata.owner_references.unwrap_or_default();
    let is_plain = spec == expected && owners == [owner(publisher)];
    let devices: Option<Vec<Arc<Device>>> = devices.into_iter().map(from_api).collect();
    Existing {
        key: SliceKey::in_name(&name).filter(|_| spec.pool.name == node),
        id: ObjectId {
            name,
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
        },
        generation: spec.pool.generation,
        count: spec.pool.resource_slice_count,
        content: devices.filter(|_| is_plain).map(Content::new),
    }
}

fn owner(publisher: &Publisher) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: publisher.node.to_string(),
        uid: publisher.node_uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn to_api(device: &Device) -> ApiDevice {
    let attributes = device.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name.clone(), attribute(value)));
    let taint = |taint: &Taint| DeviceTaint {
        effect: NO_SCHEDULE.to_owned(),
        key: taint.key.clone(),
        value: Some(taint.value.clone()),
        time_added: None,
    };
    let taints: Vec<DeviceTaint> = device.taints.iter().map(taint).collect();
    ApiDevice {
        name: device.name.clone(),
        attributes: Some(attributes.collect()),
        taints: (!taints.is_empty()).then_some(taints),
        ..ApiDevice::default()
    }
}

fn attribute(value: &Value) -> DeviceAttribute {
    let mut attribute = DeviceAttribute::default();
    match value {
        Value::Bool(value) => attribute.bool = Some(*value),
        Value::Int(value) => attribute.int = Some(*value),
        Value::Text(value) => attribute.string = Some(value.clone()),
    }
    attribute
}

/// Absent when the device has something that this driver never writes.
fn from_api(mut device: ApiDevice) -> Option<Arc<Device>> {
    let attributes = device.attributes.take().unwrap_or_default();
    let taints = device.taints.take().unwrap_or_default();
    let name = std::mem::take(&mut device.name);
    if device != ApiDevice::default() {
        return None;
    }
    let attributes = attributes.into_iter();
    let attributes = attributes.map(|(name, value)| Some((name, from_attribute(value)?)));
    let taints = taints.into_iter().map(|taint| {
        let value = taint.value.unwrap_or_default();
        let is_plain = taint.effect == NO_SCHEDULE;
        is_plain.then_some(Taint {
            key: taint.key,
            value,
        })
    });
    Some(Arc::new(Device {
        name,
        attributes: attributes.collect::<Option<_>>()?,
        taints: taints.collect::<Option<_>>()?,
    }))
}

fn from_attribute(mut found: DeviceAttribute) -> Option<Value> {
    let value = match (found.bool.take(), found.int.take(), found.string.take()) {
        (Some(value), None, None) => Value::Bool(value),
        (None, Some(value), None) => Value::Int(value),
        (None, None, Some(value)) => Value::Text(value),
        _ => return None,
    };
    (found == DeviceAttribute::default()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher() -> Publisher {
        Publisher {
            driver: crate::settings::DRIVER.parse().unwrap(),
            node: "n1".parse().unwrap(),
            node_uid: "node-uid".to_owned(),
        }
    }

    fn written() -> Written {
        let attributes = [
            ("vfIndex", Value::Int(3)),
            ("rdma", Value::Bool(false)),
            ("pfName", Value::Text("ens1f0".to_owned())),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
        let device = Device {
            name: "0000-01-10-0".to_owned(),
            attributes: BTreeMap::from(attributes),
            taints: vec![Taint {
                key: "sriov.virtfn.dev/unhealthy".to_owned(),
                value: "pf-down".to_owned(),
            }],
        };
        Written {
            key: SliceKey::in_name("000000000001000000-x").unwrap(),
            generation: 2,
            count: 3,
            content: Arc::new(vec![Arc::new(device)]),
        }
    }

    fn stored(publisher: &Publisher) -> ResourceSlice {
        let id = ObjectId {
            name: "000000000001000000-sriov.virtfn.dev-n1-x7k2p".to_owned(),
            uid: "u".to_owned(),
            version: "7".to_owned(),
        };
        let mut stored = slice(publisher, Some(&id), &written());
        let devices = stored.spec.devices.as_mut().unwrap();
        // The server adds the time.
        let taints = devices[0].taints.as_mut().unwrap();
        let time = serde_json::from_str("\"2026-11-29T10:00:00Z\"").unwrap();
        taints[0].time_added = Some(time);
        stored
    }

    #[test]
    fn stored_slice_is_read_as_it_was_written() {
        let publisher = publisher();
        let read = existing(&publisher, stored(&publisher));
        let written = written();
        assert_eq!(read.key, Some(written.key));
        assert_eq!(read.content, Some(written.content));
        assert_eq!((read.generation, read.count), (2, 3));
    }

    #[test]
    fn what_the_driver_never_writes_is_noticed() {
        type Change = fn(&mut ResourceSlice);
        let publisher = publisher();
        let changes: [Change; 5] = [
            |slice| slice.metadata.owner_references = None,
            |slice| slice.spec.all_nodes = Some(true),
            |slice| slice.spec.devices.as_mut().unwrap()[0].binds_to_node = Some(true),
            |slice| {
                let device = &mut slice.spec.devices.as_mut().unwrap()[0];
                device.taints.as_mut().unwrap()[0].effect = "NoExecute".to_owned();
            },
            |slice| {
                let device = &mut slice.spec.devices.as_mut().unwrap()[0];
                let attribute = device.attributes.as_mut().unwrap().get_mut("rdma").unwrap();
                attribute.version = Some("1.0.0".to_owned());
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut slice = stored(&publisher);
            change(&mut slice);
            assert_eq!(existing(&publisher, slice).content, None, "change {number}");
        }
    }
}
