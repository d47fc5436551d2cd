//! Prepares and unprepares claims, one after the other, as the kubelet does.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sriov_dra_driver::proto::dra_v1::dra_plugin_client::DraPluginClient;
use sriov_dra_driver::proto::dra_v1::{
    Claim, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest,
};
use sriov_testkit::cluster::api::Api;
use sriov_testkit::sized_tree::Size;

use super::{NODE, SLICES, milliseconds};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
/// Number of measured claims, as far as there are devices.
const CALLS: usize = 100;

/// Durations of Prepare and of Unprepare in milliseconds, for claims of one device each.
///
/// # Errors
/// If a call fails.
pub(super) fn measure(api: &Api, socket: &Path, size: Size) -> Result<[Vec<f64>; 2]> {
    let devices = devices(api)?;
    let count = CALLS.min(size.functions());
    let claims = devices.iter().take(count).enumerate();
    let claims = claims.map(|(index, device)| allocated(api, index, device));
    let claims = claims.collect::<Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let waits = runtime.block_on(calls(socket, &claims))?;
    for claim in &claims {
        api.delete(&format!("{CLAIMS}/{}", claim.name))?;
    }
    Ok(waits)
}

async fn calls(socket: &Path, claims: &[Claim]) -> Result<[Vec<f64>; 2]> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    let mut client = DraPluginClient::new(endpoint.connect().await?);
    let [mut prepare, mut unprepare] = [Vec::new(), Vec::new()];
    for claim in claims {
        let claims = vec![claim.clone()];
        let start = Instant::now();
        let answer = client.node_prepare_resources(NodePrepareResourcesRequest { claims });
        let answer = answer.await?.into_inner();
        prepare.push(milliseconds(start));
        let of_claim = answer.claims.get(&claim.uid).context("no answer")?;
        if !of_claim.error.is_empty() {
            bail!("Prepare: {}", of_claim.error);
        }
    }
    for claim in claims {
        let claims = vec![claim.clone()];
        let start = Instant::now();
        let answer = client.node_unprepare_resources(NodeUnprepareResourcesRequest { claims });
        let answer = answer.await?.into_inner();
        unprepare.push(milliseconds(start));
        let of_claim = answer.claims.get(&claim.uid).context("no answer")?;
        if !of_claim.error.is_empty() {
            bail!("Unprepare: {}", of_claim.error);
        }
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
fn allocated(api: &Api, index: usize, device: &str) -> Result<Claim> {
    let name = format!("claim-{index}");
    let request = json!({ "name": "vf", "exactly": { "deviceClassName": "vf", "allocationMode": "ExactCount", "count": 1 } });
    let mut claim = api.post(
        CLAIMS,
        &json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": { "name": name },
            "spec": { "devices": { "requests": [request] } },
        }),
    )?;
    let result =
        json!({ "request": "vf", "driver": "sriov.virtfn.dev", "pool": NODE, "device": device });
    let uid = claim.pointer("/metadata/uid").and_then(Value::as_str);
    let uid = uid.context("no UID")?.to_owned();
    if let Some(claim) = claim.as_object_mut() {
        let pod = json!({ "resource": "pods", "name": format!("pod-{index}"), "uid": format!("00000000-0000-4000-8000-{index:012}") });
        claim.insert(
            "status".to_owned(),
            json!({ "allocation": { "devices": { "results": [result] } }, "reservedFor": [pod] }),
        );
    }
    api.put(&format!("{CLAIMS}/{name}/status"), &claim)?;
    Ok(Claim {
        namespace: "default".to_owned(),
        uid,
        name,
    })
}
