//! Our images and manifests on a node with real Kubernetes components: the pod of the kustomize base installs the CNI plugin, offers VFs without any capability, and becomes ready.
//! The manifests of sriov-network-operator start the same images.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use sriov_lab::checkout::VERSION;
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::{Cluster, Pod, ctr, wait_for, wait_restored};
use sriov_testkit::node::{Pf, ip_json};

const TRADING: &str = include_str!("../../../deploy/examples/nad-vlan.yaml");
const CONFIG: &str = include_str!("../../../deploy/examples/configmap.yaml");
const POD: &str = include_str!("../../../deploy/examples/pod.yaml");
const BASE: &str = include_str!("../../golden/kustomize.yaml");
const PLUGIN: &str = "/opt/cni/bin/sriov";
const DEVICE_INFO: &str = "/var/run/k8s.cni.cncf.io/devinfo/dp";
const KUBELET: &str = "/var/lib/kubelet";
/// The rendered manifests of platforms with directories of their own, for the kubelet and for the CNI plugins.
const PLATFORMS: [(&str, &str, &str); 3] = [
    (
        include_str!("../../golden/helm-k3s.yaml"),
        KUBELET,
        "/var/lib/rancher/k3s/data/cni",
    ),
    (
        include_str!("../../golden/helm-k0s.yaml"),
        "/var/lib/k0s/kubelet",
        "/opt/cni/bin",
    ),
    (
        include_str!("../../golden/helm-microk8s.yaml"),
        "/var/snap/microk8s/common/var/lib/kubelet",
        "/var/snap/microk8s/current/opt/cni/bin",
    ),
];
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The node with our images, and another program instead of the CNI plugin; the end restores the plugin.
struct Node {
    cluster: Cluster,
    plugin: Vec<u8>,
}

impl Node {
    fn new() -> Self {
        let cluster = Cluster::join().unwrap();
        cluster.offer_nothing().unwrap();
        ctr(&["images", "import", "/lab/images/virtfn.tar"]).unwrap();
        let plugin = fs::read(PLUGIN).unwrap();
        fs::write(PLUGIN, "another program").unwrap();
        Self { cluster, plugin }
    }

    /// A ConfigMap with the resource list of the examples.
    fn config(&self, name: &str, key: &str) {
        let example: Value = serde_yaml_ng::from_str(CONFIG).unwrap();
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name },
            "data": { key: example["data"]["config.json"] },
        });
        let _ = self.cluster.api.delete(&format!("{CONFIG_MAPS}/{name}"));
        self.cluster.api.post(CONFIG_MAPS, &map).unwrap();
    }

    /// The pod from the template of a `DaemonSet`.
    fn pod(&self, name: &str, mut spec: Value) -> Pod<'_> {
        spec["nodeName"] = json!("node");
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
        let pod = self.cluster.pod(&pod).unwrap();
        pod.wait_running().unwrap();
        pod
    }

    fn assert_plugin_is_installed(&self) {
        self.assert_plugin_is(Path::new(PLUGIN));
    }

    fn assert_plugin_is(&self, file: &Path) {
        assert!(fs::read(file).unwrap() == self.plugin, "another program");
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_file(PLUGIN);
        let _ = fs::write(PLUGIN, &self.plugin);
        let _ = fs::set_permissions(PLUGIN, fs::Permissions::from_mode(0o755));
    }
}

/// The status of the device plugin's process, from the kernel.
fn process_status() -> String {
    let mut all = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let dir = entry.ok()?.path();
        let program = fs::read_link(dir.join("exe")).ok()?;
        let is_ours = program.ends_with("usr/bin/sriov-device-plugin");
        is_ours.then(|| fs::read_to_string(dir.join("status")).ok())?
    });
    let status = all.next().unwrap();
    assert_eq!(all.next(), None, "two of them");
    status
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap().trim_start_matches(':').trim()
}

/// The output of a program in the pod's container, as with `kubectl exec`.
fn said_in(pod: &Pod<'_>, words: &[&str]) -> String {
    let pod = pod.read().unwrap();
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    let id = id.unwrap().trim_start_matches("containerd://");
    let exec = ["tasks", "exec", "--exec-id", "said", id];
    ctr(&[&exec[..], words].concat()).unwrap()
}

fn is_ready(pod: &Pod<'_>) -> bool {
    let pod = pod.read().unwrap_or_default();
    pod["status"]["containerStatuses"][0]["ready"] == true
}

/// The pod of a `DaemonSet` after its images changed to another version.
fn next_version(daemon_set: &Value) -> Value {
    let mut spec = daemon_set["spec"]["template"]["spec"].clone();
    for kind in ["initContainers", "containers"] {
        for container in spec[kind].as_array_mut().unwrap() {
            let image = container["image"].as_str().unwrap();
            let (name, _) = image.rsplit_once(':').unwrap();
            let next = format!("{name}:next");
            ctr(&["images", "tag", "--force", image, &next]).unwrap();
            container["image"] = json!(next);
        }
    }
    spec
}

#[test]
fn base_installs_and_offers_without_a_capability() {
    let node = Node::new();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    let base = documents(BASE).unwrap();
    let daemon_set = base.iter().find(|one| one["kind"] == "DaemonSet").unwrap();
    node.config("sriovdp-config", "config.json");
    let plugin = node.pod("plugin", daemon_set["spec"]["template"]["spec"].clone());
    wait_for("the plugin is ready", || is_ready(&plugin)).unwrap();
    node.assert_plugin_is_installed();
    node.cluster
        .wait_allocatable("example.com/trading", 4)
        .unwrap();

    let status = process_status();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    // 2: a seccomp filter is active.
    assert_eq!(field(&status, "Seccomp"), "2");

    node.cluster.apply_network(TRADING).unwrap();
    let mut user: Value = serde_yaml_ng::from_str(POD).unwrap();
    user["spec"]["nodeName"] = json!("node");
    user["spec"]["terminationGracePeriodSeconds"] = json!(1);
    user["spec"]["dnsPolicy"] = json!("Default");
    let container = &mut user["spec"]["containers"][0];
    // The lab has no registry, and its image contains one program.
    container["image"] = json!("localhost/pod:1");
    container["command"] = Value::Null;
    let make = |name: &str| {
        let mut pod = user.clone();
        pod["metadata"]["name"] = json!(name);
        let pod = node.cluster.pod(&pod).unwrap();
        pod.wait_running().unwrap();
        pod
    };
    let user = make("trader");
    let netns = user.netns().unwrap();
    let net1 = ip_json(Some(&netns), &["address", "show", "dev", "net1"]).unwrap();
    assert_eq!(net1[0]["operstate"], "UP");
    let address = net1[0]["addr_info"][0]["local"].as_str().unwrap();
    assert!(address.starts_with("192.0.2."), "{address}");
    let status = user.network_status("default/trading").unwrap();
    assert_eq!(status["ips"], json!([address]));
    let device = status["device-info"]["pci"]["pci-address"]
        .as_str()
        .unwrap();
    let assert_held = |plugin: &Pod<'_>| {
        let inventory = said_in(plugin, &["sriov-device-plugin", "inventory"]);
        let of_device = inventory.lines().find(|line| line.starts_with(device));
        let has_holder = of_device.is_some_and(|line| line.contains("default/trader/main"));
        assert!(has_holder, "{inventory}");
        let file = format!("{DEVICE_INFO}/example.com-trading-{device}-device.json");
        fs::read_to_string(file).unwrap()
    };
    let info = assert_held(&plugin);

    // Like an upgrade of the DaemonSet: the old pod is deleted, then the new one is created.
    plugin.delete().unwrap();
    node.cluster
        .wait_allocatable("example.com/trading", 0)
        .unwrap();
    fs::write(PLUGIN, "the program of the earlier version").unwrap();
    let plugin = node.pod("upgraded", next_version(daemon_set));
    wait_for("the plugin is ready", || is_ready(&plugin)).unwrap();
    node.assert_plugin_is_installed();
    node.cluster
        .wait_allocatable("example.com/trading", 4)
        .unwrap();
    let second = make("second");
    assert_eq!(assert_held(&plugin), info);
    let now = ip_json(Some(&netns), &["address", "show", "dev", "net1"]).unwrap();
    assert_eq!(now[0]["addr_info"], net1[0]["addr_info"]);
    node.cluster.delete([user, second, plugin]).unwrap();
    wait_restored(&pf, &before).unwrap();
}

/// The pod of each platform's values uses the platform's directories; the kubelet's directory of the lab is reached by a link.
#[test]
fn pods_of_platforms_use_their_directories() {
    let node = Node::new();
    let _pf = Pf::with_vfs(0, 7).unwrap();
    node.config("sriovdp-config", "config.json");
    for (golden, kubelet, plugins) in PLATFORMS {
        if kubelet != KUBELET {
            fs::create_dir_all(Path::new(kubelet).parent().unwrap()).unwrap();
            symlink(KUBELET, kubelet).unwrap();
        }
        let documents = documents(golden).unwrap();
        let daemon_set = documents.iter().find(|one| one["kind"] == "DaemonSet");
        let mut spec = daemon_set.unwrap()["spec"]["template"]["spec"].clone();
        for kind in ["initContainers", "containers"] {
            // The lab has no registry.
            spec[kind][0]["image"] = json!(format!("localhost/sriov-device-plugin:{VERSION}"));
        }
        let plugin = node.pod("platform", spec);
        wait_for("the plugin is ready", || is_ready(&plugin)).unwrap();
        let file = Path::new(plugins).join("sriov");
        node.assert_plugin_is(&file);
        fs::remove_file(&file).unwrap();
        node.cluster
            .wait_allocatable("example.com/trading", 4)
            .unwrap();
        plugin.delete().unwrap();
        node.cluster
            .wait_allocatable("example.com/trading", 0)
            .unwrap();
        if kubelet != KUBELET {
            fs::remove_file(kubelet).unwrap();
        }
    }
}

/// Releases of sriov-network-operator: whether they render a read-only root file system, and whether CDI is on.
///
/// Releases: 1.5.0, 1.6.0, and the master branch of August 2026.
const OPERATORS: [(&str, bool, bool); 4] = [
    ("1.5.0", false, false),
    ("1.6.0", false, true),
    ("master", true, false),
    ("master", true, true),
];

/// The operator's pods with our images: its config daemon installs the CNI plugin, and another pod on each node runs the device plugin.
fn operated(is_read_only: bool, use_cdi: bool) -> Value {
    let host_path = |name: &str, path: &str| json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } });
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
    let mut args = vec![
        "--log-level=10",
        "--resource-prefix=example.com",
        "--config-file=/etc/pcidp/$(NODE_NAME)",
    ];
    let mut mounts = vec![
        mount("devicesock", "/var/lib/kubelet/device-plugins"),
        mount("plugins-registry", "/var/lib/kubelet/plugins_registry"),
        json!({ "name": "config-volume", "mountPath": "/etc/pcidp/", "readOnly": true }),
        mount("device-info", "/var/run/k8s.cni.cncf.io/devinfo/dp"),
    ];
    let mut volumes = vec![
        host_path("cnibin", "/opt/cni/bin"),
        json!({ "name": "os-release", "hostPath": { "path": "/etc/hosts" } }),
        host_path("devicesock", "/var/lib/kubelet/device-plugins"),
        host_path("plugins-registry", "/var/lib/kubelet/plugins_registry"),
        json!({ "name": "config-volume", "configMap": { "name": "device-plugin-config" } }),
        host_path("device-info", "/var/run/k8s.cni.cncf.io/devinfo/dp"),
    ];
    if use_cdi {
        args.push("--use-cdi");
        mounts.push(mount("dynamic-cdi", "/var/run/cdi"));
        volumes.push(host_path("dynamic-cdi", "/var/run/cdi"));
    }
    json!({
        "hostNetwork": true,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{ "operator": "Exists" }],
        "initContainers": [{
            "name": "sriov-cni",
            "image": format!("localhost/sriov-cni:{VERSION}"),
            "imagePullPolicy": "Never",
            "args": ["--no-sleep"],
            "securityContext": { "privileged": true },
            "volumeMounts": [
                mount("cnibin", "/host/opt/cni/bin"),
                json!({ "name": "os-release", "mountPath": "/host/etc/os-release", "readOnly": true }),
            ],
        }],
        "containers": [{
            "name": "sriov-device-plugin",
            "image": format!("localhost/sriov-device-plugin:{VERSION}"),
            "imagePullPolicy": "Never",
            "args": args,
            "env": [{ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
            "securityContext": { "privileged": true, "readOnlyRootFilesystem": is_read_only },
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    })
}

/// sriov-network-operator sets only the images: entry points and arguments are those of the Go images.
#[test]
fn operator_manifests_start_our_images() {
    let node = Node::new();
    let _pf = Pf::with_vfs(0, 7).unwrap();
    node.config("device-plugin-config", "node");
    for (release, is_read_only, use_cdi) in OPERATORS {
        println!("sriov-network-operator {release}, CDI {use_cdi}");
        let plugin = node.pod("operated", operated(is_read_only, use_cdi));
        node.assert_plugin_is_installed();
        fs::write(PLUGIN, "another program").unwrap();
        let allocatable = |count| node.cluster.wait_allocatable("example.com/trading", count);
        allocatable(4).unwrap();
        plugin.delete().unwrap();
        allocatable(0).unwrap();
    }
}
