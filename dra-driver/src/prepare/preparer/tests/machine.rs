//! A constructed machine with two VFs, and the claims that its API server has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};
use sriov_config::resource_list::{PfHealth, Publish, ResourceName};
use sriov_device_info::Store;
use sriov_device_info::claims::ClaimRef;
use sriov_host::{HostRoot, chain, sysfs};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::{Pool, PoolDevice, Pools};
use sriov_node::grant::cdi::CdiDir;
use tokio::sync::watch;

use super::super::{ClaimSource, Preparer};
use crate::prepare::paths::Paths;

pub(super) const UID: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const POD: &str = "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11";
pub(super) const VFS: [&str; 2] = ["0000:01:10.0", "0000:01:10.2"];

/// The claims of a test; without them the API server is away.
#[derive(Debug)]
pub(super) struct Claims(pub(super) Option<Vec<Value>>);

impl ClaimSource for Claims {
    async fn claim(
        &self,
        _: &str,
        name: &str,
    ) -> Result<Option<ResourceClaim>, Box<dyn std::error::Error + Send + Sync>> {
        let all = self.0.as_ref().ok_or("the API server is away")?;
        let found = all.iter().find(|claim| claim["metadata"]["name"] == name);
        Ok(found.map(|claim| serde_json::from_value(claim.clone()).unwrap()))
    }
}

/// A claim of two requests, with a VF each; `config` is for the first.
pub(super) fn object(name: &str, uid: &str, vfs: &[&str], config: &Value) -> Value {
    let result = |(at, vf): (usize, &&str)| json!({ "request": format!("vf-{at}"), "driver": "sriov.virtfn.dev", "pool": "node-1", "device": vf.replace([':', '.'], "-") });
    let results: Vec<Value> = vfs.iter().enumerate().map(result).collect();
    let mut parameters = config.clone();
    parameters["apiVersion"] = json!("sriov.virtfn.dev/v1alpha1");
    parameters["kind"] = json!("VfConfig");
    json!({
        "metadata": { "name": name, "namespace": "trading", "uid": uid },
        "status": {
            "allocation": { "devices": {
                "results": results,
                "config": [{ "source": "FromClaim", "requests": ["vf-0"], "opaque": { "driver": "sriov.virtfn.dev", "parameters": parameters } }],
            } },
            "reservedFor": [{ "resource": "pods", "name": "app-0", "uid": POD }],
        },
    })
}

pub(super) fn reference(name: &str, uid: &str) -> ClaimRef {
    ClaimRef {
        namespace: "trading".into(),
        name: name.into(),
        uid: uid.into(),
    }
}

pub(super) struct Machine {
    pub(super) dir: tempfile::TempDir,
    pub(super) preparer: Preparer<Claims>,
    pub(super) send_pools: watch::Sender<Arc<Pools>>,
    pub(super) send_owners: watch::Sender<Arc<Owners>>,
}

impl Machine {
    pub(super) fn new(claims: Vec<Value>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = HostRoot::new(dir.path().join("host"));
        for vf in VFS {
            let path = sysfs::device_path(&root, vf.parse().unwrap());
            fs::create_dir_all(&path).unwrap();
            symlink("../../drivers/igbvf", path.join("driver")).unwrap();
        }
        let paths = Paths {
            driver: "sriov.virtfn.dev".parse().unwrap(),
            node: "node-1".parse().unwrap(),
            host: root,
            driver_dir: dir.path().join("plugins/sriov.virtfn.dev"),
            pod_resources: dir.path().join("missing.sock"),
            cni_dir: dir.path().join("cni"),
            cni_plugin: dir.path().join("bin/sriov"),
            device_infos: Store::new(dir.path().join("devinfo/dp")),
            cdi: CdiDir::new(dir.path().join("cdi")),
            has_sriovnetwork_names: false,
        };
        let pool = Pool {
            name: ResourceName::new("example.com", "vf").unwrap(),
            publish: Publish::Dra,
            pf_health: PfHealth::Carrier,
            additional_info: Arc::default(),
            devices: Arc::new(
                VFS.map(|vf| PoolDevice::example(vf.parse().unwrap()))
                    .to_vec(),
            ),
            unhealthy: BTreeMap::new(),
        };
        let pools = Pools {
            pools: vec![pool],
            ..Pools::default()
        };
        let (send_pools, pools) = watch::channel(Arc::new(pools));
        let (send_owners, owners) = watch::channel(Arc::default());
        let preparer = Preparer {
            paths,
            source: Claims(Some(claims)),
            pools,
            owners,
            refused: Arc::new(|_, _, _| {}),
        };
        Self {
            dir,
            preparer,
            send_pools,
            send_owners,
        }
    }

    /// A machine with one claim of both VFs.
    pub(super) fn with_claim(config: &Value) -> (Self, ClaimRef) {
        let machine = Self::new(vec![object("both", UID, &VFS, config)]);
        (machine, reference("both", UID))
    }

    /// All files but those of the machine itself and the lock.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("host") || path.ends_with("bin") {
                } else if path.is_dir() {
                    dirs.push(path);
                } else if !path.ends_with("serialize.lock") {
                    files.insert(path.strip_prefix(self.dir.path()).unwrap().to_owned());
                }
            }
        }
        files
    }

    pub(super) fn read(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.dir.path().join(path)).unwrap()).unwrap()
    }

    pub(super) async fn check_refused(&self, claim: &ClaimRef, expected: &str) {
        let before = self.files();
        let error = self.preparer.prepare(claim).await.unwrap_err();
        assert_eq!(chain(&error), expected);
        assert_eq!(self.files(), before);
    }
}
