//! The node of the DRA suites: both front ends with one resource list, the driver's permissions, and its classes.

use serde_json::{Value, json};
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::Cluster;
use sriov_testkit::node::Pf;

use crate::dra::examples;

/// The driver's manifests, as kubectl renders them.
pub(crate) const MANIFESTS: &str = include_str!("../../../golden/kustomize-dra.yaml");
/// The driver's service account in them.
pub(crate) const ACCOUNT: &str = "sriov-dra-driver";

/// The VFs of the first PF, by claims.
pub(crate) const RESOURCE: &str = "example.com/fast";
/// Three VFs of the second PF, by claims.
pub(crate) const SECOND: &str = "example.com/second";
/// The class of [`RESOURCE`].
pub(crate) const CLASS: &str = "fast";

/// The running driver, and the cluster that it serves.
pub(crate) struct Driver {
    pub(crate) cluster: Cluster,
    pfs: [Pf; 2],
}

impl Driver {
    /// Starts what does not run yet, and waits for all devices.
    pub(crate) fn start() -> Self {
        let cluster = Cluster::join().unwrap();
        let pfs = [Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap()];
        cluster.offer(&resource_list().to_string()).unwrap();
        let account = format!("/api/v1/namespaces/kube-system/serviceaccounts/{ACCOUNT}");
        if cluster.api.is_missing(&account) {
            cluster
                .permit_driver(&documents(MANIFESTS).unwrap())
                .unwrap();
            examples::apply(&cluster, "Class and networks");
        }
        cluster.identify_driver(ACCOUNT).unwrap();
        cluster.start_registered(&[]).unwrap();
        cluster.wait_devices(RESOURCE, 7).unwrap();
        cluster.wait_devices(SECOND, 3).unwrap();
        Self { cluster, pfs }
    }

    /// Both PFs, with seven VFs each.
    pub(crate) fn pfs(&self) -> (&Pf, &Pf) {
        let [first, second] = &self.pfs;
        (first, second)
    }

    /// Whether this is Kubernetes 1.`minor` or later.
    pub(crate) fn has_release(&self, minor: u32) -> bool {
        release(&self.cluster) >= minor
    }
}

/// The resource list of both front ends.
pub(crate) fn resource_list() -> Value {
    let resource = |name: &str, front_end: &str, vfs: &str| {
        json!({ "resourceName": name, "resourcePrefix": "example.com", "publish": front_end,
            "selectors": [{ "pfNames": [vfs] }] })
    };
    json!({ "resourceList": [
        resource("fast", "dra", "pf0"),
        resource("second", "dra", "pf1#0-2"),
        resource("storage", "devicePlugin", "pf1#3-6"),
    ] })
}

/// The minor number of Kubernetes.
fn release(cluster: &Cluster) -> u32 {
    let version = cluster.api.get("/version").unwrap();
    version["minor"].as_str().unwrap().parse().unwrap()
}
