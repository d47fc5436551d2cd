//! What pods hold: their claims, the devices of these, the environment, and the files on the node.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sriov_testkit::cluster::{Cluster, Pod};

use crate::devices::container_with;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

/// All claims of the suites' namespace.
pub(crate) fn claims(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.api.get(CLAIMS).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// No file of a claim is left: hand-over, CDI specification, device-info.
pub(crate) fn assert_nothing_left() {
    for dir in ["/var/lib/cni/sriov/claims", "/var/run/cdi"] {
        assert_eq!(files(dir), Vec::<String>::new(), "{dir}");
    }
    let info = files("/var/run/k8s.cni.cncf.io/devinfo/dp").into_iter();
    let own: Vec<String> = info
        .filter(|name| name.contains("-fast-") || name.contains("-second-"))
        .collect();
    assert_eq!(own, Vec::<String>::new());
}

/// Names of the files in a directory; empty if the directory does not exist.
pub(crate) fn files(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(dir)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

/// The claims of a pod.
pub(crate) fn claims_of(cluster: &Cluster, pod: &Pod<'_>) -> Vec<Value> {
    let pod = pod.read().unwrap();
    let statuses = pod["status"]["resourceClaimStatuses"].as_array().unwrap();
    let claim = |status: &Value| {
        let name = status["resourceClaimName"].as_str().unwrap();
        cluster.api.get(&format!("{CLAIMS}/{name}")).unwrap()
    };
    statuses.iter().map(claim).collect()
}

/// The device that a request of a claim got.
pub(crate) fn allocated(claim: &Value, request: &str) -> String {
    let results = claim["status"]["allocation"]["devices"]["results"].as_array();
    let mut results = results.unwrap().iter();
    let result = results.find(|result| result["request"] == request).unwrap();
    result["device"].as_str().unwrap().to_owned()
}

/// The value of a variable in the only container that has it.
pub(crate) fn variable(name: &str) -> String {
    container_with(name).1
}
