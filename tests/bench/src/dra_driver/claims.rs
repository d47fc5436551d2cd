//! Prepares and unprepares claims, one after the other, as the kubelet does.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sriov_testkit::cluster::api::Api;
use sriov_testkit::dra_plugin::{ClaimName, DraPlugin};
use sriov_testkit::sized_tree::Size;

use super::{NODE, SLICES, milliseconds};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
/// Number of measured claims, as far as there are devices.
const CALLS: usize = 100;

/// Durations of Prepare and of Unprepare in milliseconds, for claims of one device each.
///
/// # Errors
/// If a call fails.
pub(super) fn measure(api: &Api, kubelet_dir: &Path, size: Size) -> Result<[Vec<f64>; 2]> {
    let devices = devices(api)?;
    let count = CALLS.min(size.functions());
    let claims = devices.iter().take(count).enumerate();
    let claims = claims.map(|(index, device)| allocated(api, index, device));
    let claims = claims.collect::<Result<Vec<_>>>()?;
    let plugin = DraPlugin::connect(kubelet_dir)?;
    let [mut prepare, mut unprepare] = [Vec::new(), Vec::new()];
    for claim in &claims {
        let start = Instant::now();
        plugin.prepare(claim)?;
        prepare.push(milliseconds(start));
    }
    for claim in &claims {
        let start = Instant::now();
        plugin.unprepare(claim)?;
        unprepare.push(milliseconds(start));
        api.delete(&format!("{CLAIMS}/{}", claim.name))?;
    }
    Ok([prepare, unprepare])
}

/// The names of all published devices.
fn devices(api: &Api) -> Result<Vec<String>> {
    let list = api.get(SLICES)?;
    let slices = list.get("items").and_then(Value::as_array);
    let devices = slices
        .into_iter()
        .flatten()
        .filter_map(|slice| slice.pointer("/spec/devices")?.as_array());
    let names = devices
        .flatten()
        .filter_map(|device| Some(device.get("name")?.as_str()?.to_owned()));
    Ok(names.collect())
}

/// Creates a claim, allocates a device to it and reserves it for a pod, as the scheduler does.
fn allocated(api: &Api, index: usize, device: &str) -> Result<ClaimName> {
    let name = format!("claim-{index}");
    let exactly = json!({ "deviceClassName": "vf", "allocationMode": "ExactCount", "count": 1 });
    let mut claim = api.post(
        CLAIMS,
        &json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": { "name": name },
            "spec": { "devices": { "requests": [{ "name": "vf", "exactly": exactly }] } },
        }),
    )?;
    let uid = claim.pointer("/metadata/uid").and_then(Value::as_str);
    let uid = uid.context("no UID")?.to_owned();
    let result =
        json!({ "request": "vf", "driver": "sriov.virtfn.dev", "pool": NODE, "device": device });
    let pod = json!({
        "resource": "pods",
        "name": format!("pod-{index}"),
        "uid": format!("00000000-0000-4000-8000-{index:012}"),
    });
    let status =
        json!({ "allocation": { "devices": { "results": [result] } }, "reservedFor": [pod] });
    let object = claim.as_object_mut().context("no object")?;
    object.insert("status".to_owned(), status);
    api.put(&format!("{CLAIMS}/{name}/status"), &claim)?;
    Ok(ClaimName {
        namespace: "default".to_owned(),
        name,
        uid,
    })
}
