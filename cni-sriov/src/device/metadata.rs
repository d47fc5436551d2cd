//! The metadata file of a claim's request (KEP-5304): gets the network data of its device before a container of the pod exists.
//!
//! The file has one JSON object for each version of the metadata API; each gets the data.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};
use sriov_device_info::atomic;

use super::error::DeviceError;
use crate::model::SavedClaim;

/// Writes the network data of the claim's device into the file (`networkData`, a `NetworkDeviceData` of `resource.k8s.io`).
///
/// # Errors
/// [`DeviceError::Metadata`] when the file cannot be read or written, or has no such device.
pub(crate) fn write_network_data(
    path: &Path,
    claim: &SavedClaim,
    result: &Value,
    ifname: &str,
) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Metadata {
        path: path.to_owned(),
        source,
    };
    let text = fs::read(path).map_err(failed)?;
    let text = with_network_data(&text, claim, &network_data(result, ifname)).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    atomic::replace_durably(path, &text, mode & 0o7777).map_err(failed)
}

/// Name, addresses and MAC address of an interface, from a result of version 1.1.0.
fn network_data(result: &Value, ifname: &str) -> Value {
    let none = Vec::new();
    let list = |key: &str| result.get(key).and_then(Value::as_array).unwrap_or(&none);
    let interfaces = list("interfaces");
    let is_meant =
        |interface: &&Value| interface.get("name").and_then(Value::as_str) == Some(ifname);
    let position = interfaces
        .iter()
        .rposition(|interface| is_meant(&interface));
    let mut data = Map::from_iter([("interfaceName".to_owned(), json!(ifname))]);
    let is_own = |ip: &&Value| {
        let interface = ip.get("interface").and_then(Value::as_u64);
        interface.and_then(|interface| usize::try_from(interface).ok()) == position
    };
    let ips = list("ips").iter().filter(is_own);
    let ips: Vec<&Value> = ips.filter_map(|ip| ip.get("address")).collect();
    if !ips.is_empty() {
        data.insert("ips".to_owned(), json!(ips));
    }
    let mac = position.and_then(|position| interfaces.get(position)?.get("mac"));
    data.extend(mac.map(|mac| ("hardwareAddress".to_owned(), mac.clone())));
    Value::Object(data)
}

/// The stream of objects with the network data in the claim's device, and the next generation.
fn with_network_data(text: &[u8], claim: &SavedClaim, data: &Value) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    let mut is_found = false;
    for object in serde_json::Deserializer::from_slice(text).into_iter::<Value>() {
        let mut object = object?;
        if set(&mut object, claim, data) {
            is_found = true;
            let generation = object.pointer_mut("/metadata/generation");
            if let Some(generation) = generation {
                *generation = json!(generation.as_u64().unwrap_or_default().saturating_add(1));
            }
        }
        serde_json::to_writer(&mut written, &object)?;
        written.push(b'\n');
    }
    if is_found {
        return Ok(written);
    }
    let SavedClaim {
        request, device, ..
    } = claim;
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it has no device `{device}` of the request `{request}`"),
    ))
}

/// Sets the data of the claim's device in one object; false if the object does not have the device.
fn set(object: &mut Value, claim: &SavedClaim, data: &Value) -> bool {
    let is =
        |value: &Value, key: &str, text: &str| value.get(key).and_then(Value::as_str) == Some(text);
    let requests = object.get_mut("requests").and_then(Value::as_array_mut);
    let request = requests
        .into_iter()
        .flatten()
        .find(|request| is(request, "name", &claim.request));
    let devices = request.and_then(|request| request.get_mut("devices")?.as_array_mut());
    let device = devices.into_iter().flatten().find(|device| {
        is(device, "driver", &claim.driver)
            && is(device, "pool", &claim.pool)
            && is(device, "name", &claim.device)
    });
    let Some(device) = device.and_then(Value::as_object_mut) else {
        return false;
    };
    device.insert("networkData".to_owned(), data.clone());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::examples;

    fn claim() -> SavedClaim {
        examples::claim()
    }

    const DEVICE: &str = r#"{"driver":"sriov.virtfn.dev","pool":"node-1","name":"0000-01-10-0","attributes":{"resource.kubernetes.io/pciBusID":{"string":"0000:01:10.0"}}}"#;

    fn file() -> String {
        let object = |version: &str, generation: u32| {
            let other = DEVICE.replace("10-0", "10-2");
            format!(
                r#"{{"apiVersion":"metadata.resource.k8s.io/{version}","kind":"DeviceMetadata","metadata":{{"name":"feed","generation":{generation}}},"requests":[{{"name":"other","devices":[{DEVICE}]}},{{"name":"vf","devices":[{other},{DEVICE}]}}]}}"#
            )
        };
        format!("{}\n{}", object("v1beta1", 1), object("v1alpha1", 4))
    }

    #[test]
    fn device_of_the_request_gets_the_data_in_each_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.json");
        fs::write(&path, file()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let result = json!({ "interfaces": [{ "name": "eth0" }, { "name": "net1", "mac": "02:00:00:00:00:01" }],
            "ips": [{ "address": "10.0.0.2/24", "interface": 0 }, { "address": "192.0.2.10/24", "interface": 1 }, { "address": "2001:db8::2/64", "interface": 1 }] });
        write_network_data(&path, &claim(), &result, "net1").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let objects: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(objects.len(), 2);
        for (object, generation) in objects.iter().zip([2, 5]) {
            assert_eq!(object["metadata"]["generation"], generation);
            let data = json!({ "interfaceName": "net1", "hardwareAddress": "02:00:00:00:00:01", "ips": ["192.0.2.10/24", "2001:db8::2/64"] });
            assert_eq!(object["requests"][1]["devices"][1]["networkData"], data);
            for (request, device) in [(0, 0), (1, 0)] {
                assert_eq!(
                    object["requests"][request]["devices"][device]["networkData"],
                    Value::Null
                );
            }
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn file_without_the_device_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.json");
        for text in [
            file().replace("10-0", "10-4"),
            "{}".to_owned(),
            "torn {".to_owned(),
            String::new(),
        ] {
            fs::write(&path, &text).unwrap();
            write_network_data(&path, &claim(), &json!({}), "net1").unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        let error = write_network_data(&path, &claim(), &json!({}), "net1").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot add the network data to `"),
            "{error}"
        );
    }
}
