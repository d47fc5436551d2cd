//! Pods that name no node: the scheduler counts the devices of a resource, and a pod without one waits until another pod releases it.

use serde_json::{Value, json};
use sriov_testkit::cluster::{Cluster, wait_for};
use sriov_testkit::node::Pf;

const RESOURCE: &str = "example.com/few";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods?labelSelector=app%3Dfew";

/// Three pods that need a device each. They tolerate all taints: no controller removes those of a new node.
fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "few" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "few" } },
            "template": {
                "metadata": { "labels": { "app": "few" } },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [{
                        "name": "main",
                        "image": "localhost/pod:1",
                        "imagePullPolicy": "Never",
                        "resources": { "limits": { RESOURCE: "1" } },
                    }],
                },
            },
        },
    })
}

/// The names of the deployment's pods that are in a phase and stay.
fn pods_in(cluster: &Cluster, phase: &str) -> Vec<String> {
    let list = cluster.api.get(PODS).unwrap_or_default();
    let items = list.get("items").and_then(Value::as_array);
    let stays = |pod: &&Value| {
        pod.pointer("/status/phase") == Some(&json!(phase))
            && pod.pointer("/metadata/deletionTimestamp").is_none()
    };
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    items
        .into_iter()
        .flatten()
        .filter(stays)
        .filter_map(name)
        .collect()
}

#[test]
fn a_pod_without_a_device_waits_until_one_is_released() {
    let cluster = Cluster::join().unwrap();
    let _pf = Pf::with_vfs(0, 7).unwrap();
    let list = json!({ "resourceList": [
        { "resourceName": "few", "resourcePrefix": "example.com", "selectors": [{ "pfNames": ["pf0#0-1"] }] },
    ] });
    cluster.offer(&list.to_string()).unwrap();
    cluster.wait_allocatable(RESOURCE, 2).unwrap();
    cluster.api.post(DEPLOYMENTS, &deployment()).unwrap();
    let run = |count: usize| pods_in(&cluster, "Running").len() == count;
    wait_for("two pods run", || run(2)).unwrap();
    let waiting = pods_in(&cluster, "Pending");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let reason = format!("Insufficient {RESOURCE}");
    let pod = cluster.pod_there(&waiting[0]);
    pod.wait_event(&reason).unwrap();

    let first = pods_in(&cluster, "Running").remove(0);
    cluster.pod_there(&first).delete().unwrap();
    let mut running = Vec::new();
    wait_for("two pods run again", || {
        running = pods_in(&cluster, "Running");
        running.len() == 2
    })
    .unwrap();
    assert!(!running.contains(&first));

    cluster.api.delete(&format!("{DEPLOYMENTS}/few")).unwrap();
    cluster.api.delete(SETS).unwrap();
    drop(pod);
    let all = ["Running", "Pending"].map(|phase| pods_in(&cluster, phase));
    let all = all.iter().flatten().map(|name| cluster.pod_there(name));
    cluster.delete(all).unwrap();
}
