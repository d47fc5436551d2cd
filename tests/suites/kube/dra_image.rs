//! The DRA driver from its image and manifests: the pod reaches the API server by its service account, with its three capabilities, and serves claims.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::claims::{claiming, parameters, request, template};
use sriov_testkit::cluster::workload::network;
use sriov_testkit::cluster::{Service, ctr, wait_for, wait_restored};

use crate::dra::held::{allocated, assert_nothing_left, claims_of};
use crate::dra_faults::{LossyPlugin, attached};
use crate::dra_publish::setup::{ACCOUNT, CLASS, Driver, MANIFESTS, RESOURCE, resource_list};

const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const AUTHORITY: &str = "/etc/kubernetes/cert.pem";

/// Address and port of the API server, as the kubelet has them.
fn api_server() -> (String, String) {
    let config = fs::read_to_string("/etc/kubernetes/kubelet.kubeconfig").unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let address = server.trim_start_matches("https://");
    let (host, port) = address.split_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

/// The pod of the `DaemonSet`, with what a cluster adds: the volume of the service account, and the way to the API server.
fn driver_pod() -> Value {
    let documents = documents(MANIFESTS).unwrap();
    let set = documents.iter().find(|one| one["kind"] == "DaemonSet");
    let mut spec = set.unwrap()["spec"]["template"]["spec"].clone();
    spec["nodeName"] = json!("node");
    spec["dnsPolicy"] = json!("Default");
    let (host, port) = api_server();
    let container = &mut spec["containers"][0];
    for (name, value) in [
        ("KUBERNETES_SERVICE_HOST", host),
        ("KUBERNETES_SERVICE_PORT", port),
    ] {
        let variable = json!({ "name": name, "value": value });
        container["env"].as_array_mut().unwrap().push(variable);
    }
    let mount = json!({ "name": "account", "mountPath": ACCOUNT_DIR, "readOnly": true });
    let mounts = container["volumeMounts"].as_array_mut().unwrap();
    mounts.push(mount);
    let sources = json!([
        { "serviceAccountToken": { "path": "token", "expirationSeconds": 3600 } },
        { "configMap": { "name": "lab-root-ca", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
    ]);
    let volume = json!({ "name": "account", "projected": { "sources": sources } });
    spec["volumes"].as_array_mut().unwrap().push(volume);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": ACCOUNT, "namespace": "kube-system" },
        "spec": spec,
    })
}

#[test]
fn pod_of_the_manifests_serves_claims() {
    let driver = Driver::start();
    let cluster = &driver.cluster;
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    Service::DraDriver.kill().unwrap();
    ctr(&["images", "import", "/lab/images/virtfn.tar"]).unwrap();
    let in_system = |name: &str, data: Value| {
        let metadata = json!({ "name": name, "namespace": "kube-system" });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
    };
    let list = json!({ "config.json": resource_list().to_string() });
    cluster
        .api
        .replace(&in_system("sriovdp-config", list))
        .unwrap();
    let authority = json!({ "ca.crt": fs::read_to_string(AUTHORITY).unwrap() });
    cluster
        .api
        .replace(&in_system("lab-root-ca", authority))
        .unwrap();
    let serving = cluster.pod(&driver_pod()).unwrap();
    serving.wait_running().unwrap();
    wait_for("the driver is ready", || {
        let pod = serving.read().unwrap_or_default();
        pod["status"]["containerStatuses"][0]["ready"] == true
    })
    .unwrap();
    cluster.wait_devices(RESOURCE, 7).unwrap();

    let settings = json!({ "vlan": 120 });
    cluster
        .apply_network(&network("installed", "", &settings))
        .unwrap();
    let devices = json!({ "requests": [request("vf", CLASS, 1)],
        "config": [parameters(&["vf"], &json!({ "network": "default/installed" }))] });
    cluster
        .api
        .replace(&template("installed", &devices))
        .unwrap();
    let networks = json!([{ "name": "installed" }]);
    let user = cluster
        .pod(&claiming("user-of-image", &networks, &["installed"]))
        .unwrap();
    user.wait_running().unwrap();
    user.network_status("default/installed").unwrap();
    user.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();

    undoes_a_lost_del(&driver);
    binds_a_driver(&driver);
    serving.delete().unwrap();
}

/// The CNI plugin runs in the driver's container, with its capabilities only.
fn undoes_a_lost_del(driver: &Driver) {
    let _plugin = LossyPlugin::install();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let pod = attached(driver, "lost-del-of-image", LossyPlugin::NAME);
    pod.wait_running().unwrap();
    assert_ne!(pf.baseline().unwrap(), before);
    pod.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

/// The driver writes below `/sys` from its container.
fn binds_a_driver(driver: &Driver) {
    let cluster = &driver.cluster;
    let devices = json!({ "requests": [request("vf", CLASS, 1)],
        "config": [parameters(&["vf"], &json!({ "driver": "vfio-pci" }))] });
    cluster
        .api
        .replace(&template("vfio-of-image", &devices))
        .unwrap();
    let pod = claiming("vfio-of-image", &json!([]), &["vfio-of-image"]);
    let pod = cluster.pod(&pod).unwrap();
    pod.wait_running().unwrap();
    let claim = claims_of(cluster, &pod).remove(0);
    let address = allocated(&claim, "vf")
        .replacen('-', ":", 2)
        .replacen('-', ".", 1);
    let is_bound =
        |driver: &str| Path::new(&format!("/sys/bus/pci/drivers/{driver}/{address}")).exists();
    assert!(is_bound("vfio-pci"), "{address}");
    pod.delete().unwrap();
    wait_for("its own driver is bound", || is_bound("igbvf")).unwrap();
    assert_nothing_left();
}
