//! Applies the `DaemonSets` of an upgrade: ours from the rendered base, and those of the Go plugins.

use anyhow::Context;
use serde_json::{Value, json};
use sriov_lab::manifests::documents;
use sriov_lab::peers::{PCI_IDS, PEER_BIN, PEER_DEVICE_PLUGIN};
use sriov_testkit::cluster::{Cluster, wait_for};
use sriov_testkit::cni::BIN;

const BASE: &str = include_str!("../../../golden/kustomize.yaml");
const SETS: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets";
/// Pods by the label that each of the sets has.
const PODS: &str = "/api/v1/namespaces/kube-system/pods?labelSelector=app.kubernetes.io%2Fname%3D";
/// A shell, for programs of the node; the lab has no registry.
const IMAGE: &str = "localhost/pod:1";
const BUSYBOX: &str = "/bin/busybox";

/// A `DaemonSet` of the cluster; the end of a failed test deletes it.
pub(super) struct DaemonSet<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> DaemonSet<'a> {
    /// Applies a set, and waits until its pod is available.
    fn apply(cluster: &'a Cluster, object: &Value) -> Self {
        cluster.api.replace(object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let set = Self { cluster, name };
        set.wait_rolled_out();
        set
    }

    /// Our base with images of this version.
    pub(super) fn ours(cluster: &'a Cluster, version: &str) -> Self {
        let is_set = |object: &Value| object["kind"] == "DaemonSet";
        let objects = documents(BASE).unwrap().into_iter();
        let (mut sets, others): (Vec<_>, Vec<_>) = objects.partition(is_set);
        for object in others {
            cluster.api.replace(&object).unwrap();
        }
        set_version(&mut sets[0], version);
        Self::apply(cluster, &sets[0])
    }

    /// The Go device plugin, as its own manifests run it.
    pub(super) fn go_device_plugin(cluster: &'a Cluster) -> Self {
        let command = [
            PEER_DEVICE_PLUGIN,
            "--logtostderr",
            "--config-file=/etc/pcidp/config.json",
        ];
        let spec = json!({
            "hostNetwork": true,
            "containers": [{
                "name": "kube-sriovdp",
                "image": IMAGE,
                "command": command,
                "securityContext": { "privileged": true },
                "volumeMounts": [
                    mount("program", PEER_DEVICE_PLUGIN),
                    mount("names", &format!("/{PCI_IDS}")),
                    mount("devicesock", "/var/lib/kubelet/device-plugins"),
                    mount("plugins-registry", "/var/lib/kubelet/plugins_registry"),
                    mount("device-info", "/var/run/k8s.cni.cncf.io/devinfo/dp"),
                    mount("config-volume", "/etc/pcidp"),
                ],
            }],
            "volumes": [
                on_host("program", PEER_DEVICE_PLUGIN),
                on_host("names", &format!("/{PCI_IDS}")),
                on_host("devicesock", "/var/lib/kubelet/device-plugins"),
                on_host("plugins-registry", "/var/lib/kubelet/plugins_registry"),
                on_host("device-info", "/var/run/k8s.cni.cncf.io/devinfo/dp"),
                json!({ "name": "config-volume", "configMap": { "name": "sriovdp-config" } }),
            ],
        });
        Self::apply(cluster, &set("kube-sriov-device-plugin", spec))
    }

    /// The Go CNI plugin: the pod copies it to the node and waits.
    pub(super) fn go_cni(cluster: &'a Cluster) -> Self {
        let copy = format!(
            "{BUSYBOX} cp {PEER_BIN}/sriov {BIN}/.sriov && {BUSYBOX} mv {BIN}/.sriov {BIN}/sriov"
        );
        let spec = json!({
            // A pod is available only after the copy.
            "initContainers": [{
                "name": "copy",
                "image": IMAGE,
                "command": [BUSYBOX, "sh", "-c", copy],
                "securityContext": { "privileged": true },
                "volumeMounts": [mount("program", PEER_BIN), mount("cnibin", BIN)],
            }],
            "containers": [{ "name": "kube-sriov-cni", "image": IMAGE }],
            "volumes": [on_host("program", PEER_BIN), on_host("cnibin", BIN)],
        });
        Self::apply(cluster, &set("kube-sriov-cni", spec))
    }

    /// Changes the version of the images, and waits until the new pod replaced the old one.
    pub(super) fn upgrade(&self, version: &str) {
        let path = format!("{SETS}/{}", self.name);
        // The controller may write the status in between.
        wait_for("the images are changed", || {
            let mut set = self.cluster.api.get(&path).unwrap_or_default();
            set_version(&mut set, version);
            self.cluster.api.put(&path, &set).is_ok()
        })
        .unwrap();
        self.wait_rolled_out();
    }

    /// Deletes the set, and waits until its pod is gone.
    pub(super) fn delete(self) {
        let path = format!("{SETS}/{}", self.name);
        self.cluster.api.delete(&path).unwrap();
        wait_for("the pod of the DaemonSet is gone", || {
            self.pods().is_some_and(|pods| pods.is_empty())
        })
        .unwrap();
    }

    /// As `kubectl rollout status` waits.
    fn wait_rolled_out(&self) {
        let path = format!("{SETS}/{}", self.name);
        let is_rolled_out = || {
            let set = self.cluster.api.get(&path).unwrap_or_default();
            let status = |field: &str| set["status"][field].as_u64();
            status("observedGeneration") == set["metadata"]["generation"].as_u64()
                && status("updatedNumberScheduled") == Some(1)
                && status("numberAvailable") == Some(1)
        };
        let rolled_out = wait_for(&format!("{} is rolled out", self.name), is_rolled_out);
        rolled_out
            .with_context(|| format!("{:?}", self.pods()))
            .unwrap();
    }

    /// The statuses of its pods; absent if the API server does not answer.
    fn pods(&self) -> Option<Vec<Value>> {
        let list = self.cluster.api.get(&format!("{PODS}{}", self.name)).ok()?;
        let items = list["items"].as_array()?;
        Some(items.iter().map(|pod| pod["status"].clone()).collect())
    }
}

impl Drop for DaemonSet<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.cluster.api.delete(&format!("{SETS}/{}", self.name));
        }
    }
}

/// Sets the tag of all images of a set.
fn set_version(set: &mut Value, version: &str) {
    for kind in ["initContainers", "containers"] {
        let containers = set.pointer_mut(&format!("/spec/template/spec/{kind}"));
        let containers = containers.and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let image = container["image"].as_str().unwrap_or_default();
            let (name, _) = image.rsplit_once(':').unwrap_or((image, ""));
            container["image"] = json!(format!("{name}:{version}"));
        }
    }
}

/// A set with one pod on each node.
fn set(name: &str, mut spec: Value) -> Value {
    let labels = json!({ "app.kubernetes.io/name": name });
    spec["tolerations"] = json!([{ "operator": "Exists" }]);
    spec["automountServiceAccountToken"] = json!(false);
    spec["dnsPolicy"] = json!("Default");
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": "kube-system" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec },
        },
    })
}

fn on_host(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path } })
}

fn mount(name: &str, path: &str) -> Value {
    json!({ "name": name, "mountPath": path })
}
