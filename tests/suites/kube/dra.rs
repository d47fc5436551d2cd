//! Claims of pods: the DRA driver with a real scheduler, controller manager, API server, kubelet, containerd and Multus.

mod compatible;
pub(crate) mod examples;
pub(crate) mod held;

use std::fs;

use serde_json::{Value, json};
use sriov_testkit::cluster::claims::{claiming, parameters, request, template};
use sriov_testkit::cluster::workload::network;
use sriov_testkit::cluster::{Cluster, Pod, Service, last_lines, wait_for, wait_restored};
use sriov_testkit::node::{Far, Pf, Tap, ip_json, ping};

use self::held::{allocated, assert_nothing_left, claims, claims_of, variable};
use crate::devices::container_with;
use crate::dra_publish::setup::{ACCOUNT, CLASS, Driver, RESOURCE, SECOND};

/// The claim of an example that has no template.
const SHARED: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/shared";

/// The settings of VF `index` as its PF reports them.
fn at_pf(pf: &Pf, index: usize) -> Value {
    let link = ip_json(None, &["link", "show", "dev", &pf.netdev]).unwrap();
    link[0]["vfinfo_list"][index].clone()
}

fn vlan_of(pf: &Pf, device: &str) -> Value {
    let index = (0..7).find(|index| pf.vf(*index).unwrap().replace([':', '.'], "-") == device);
    at_pf(pf, index.unwrap())["vlan_list"][0]["vlan"].clone()
}

/// The PCI address of a device by its name in a slice.
fn at_vf(device: &str) -> String {
    device.replacen('-', ":", 2).replacen('-', ".", 1)
}

#[test]
fn pod_of_a_claim_template_is_in_its_vlan() {
    let driver = Driver::start();
    let (pf, other) = driver.pfs();
    let before = pf.baseline().unwrap();
    let far = Far::new(other, 6).unwrap();
    far.join(100, "192.0.2.1").unwrap();
    let cluster = &driver.cluster;
    let pod = examples::pod(cluster, "One VF by a template");
    let log = || last_lines(&Service::DraDriver.log());
    let status = pod.wait_running();
    status.unwrap_or_else(|error| panic!("{error:#}\n{}", log()));

    let claim = claims_of(cluster, &pod).remove(0);
    let device = allocated(&claim, "vf");
    assert_eq!(vlan_of(pf, &device), 100);
    let tap = Tap::new(Some(&far.netns.name), &far.netdev, &["vlan"]).unwrap();
    let is_answered = ping(&pod.netns().unwrap(), "192.0.2.1", 20, 1).unwrap();
    assert!(is_answered, "{}", tap.frames());
    assert!(tap.has(&["vlan 100", "echo request"]), "{}", tap.frames());
    assert_eq!(variable("PCIDEVICE_EXAMPLE_COM_FAST"), at_vf(&device));
    let shown = pod.network_status("default/market-data").unwrap();
    assert_eq!(shown["interface"], "net1");
    let address = shown["ips"][0].as_str().unwrap();
    assert_status_names_the_interface(&driver, &pod, address);

    pod.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    wait_for("no claim is left", || claims(&driver.cluster).is_empty()).unwrap();
    assert_nothing_left();
    drop((tap, far));
}

/// Waits until the status of the pod's only claim has such network data, and returns the status of its first device.
fn status_with_interface(
    cluster: &Cluster,
    pod: &Pod<'_>,
    is_shown: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let shown = wait_for("the claim's status has the interface", || {
        last = claims_of(cluster, pod).remove(0)["status"]["devices"][0].clone();
        is_shown(&last["networkData"])
    });
    shown.unwrap_or_else(|error| panic!("{error:#}: {last}"));
    last
}

/// The driver copies what the CNI plugin attached into the claim.
fn assert_status_names_the_interface(driver: &Driver, pod: &Pod<'_>, address: &str) {
    let last = status_with_interface(&driver.cluster, pod, |network| {
        network["interfaceName"] == "net1" && network["ips"] == json!([format!("{address}/24")])
    });
    let conditions = last["conditions"].as_array().unwrap();
    let is_true = |name: &str| {
        let condition = conditions.iter().find(|one| one["type"] == name);
        condition.is_some_and(|one| one["status"] == "True")
    };
    assert!(is_true("Ready") && is_true("Attached"), "{last}");
}

#[test]
fn two_vfs_of_one_class_are_each_in_their_network() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let cluster = &driver.cluster;
    let pod = examples::pod(cluster, "Two VFs in two networks");
    pod.wait_running().unwrap();
    let claim = claims_of(cluster, &pod).remove(0);
    assert_eq!(vlan_of(pf, &allocated(&claim, "feed")), 100);
    assert_eq!(vlan_of(pf, &allocated(&claim, "orders")), 101);
    pod.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

/// For a bond, VFs of distinct PFs; for one program, VFs of one NUMA node.
#[test]
fn constraints_select_the_pfs_of_the_vfs() {
    let driver = Driver::start();
    if !driver.has_release(36) {
        println!("skipped: distinctAttribute needs Kubernetes 1.36");
        return;
    }
    let cluster = &driver.cluster;
    let pods = ["VFs of distinct PFs", "VFs of one NUMA node"]
        .map(|heading| examples::pod(cluster, heading));
    let (first, second) = driver.pfs();
    let pf_of = |device: &str| {
        let is_of =
            |pf: &Pf| (0..7).any(|at| pf.vf(at).unwrap().replace([':', '.'], "-") == device);
        (is_of(first), is_of(second))
    };
    for (pod, are_distinct) in pods.iter().zip([true, false]) {
        pod.wait_running().unwrap();
        let claim = claims_of(cluster, pod).remove(0);
        let results = claim["status"]["allocation"]["devices"]["results"].clone();
        let results = results.as_array().unwrap().iter();
        let pfs: Vec<_> = results
            .map(|result| pf_of(result["device"].as_str().unwrap()))
            .collect();
        assert_eq!(pfs.len(), 2);
        assert_eq!(pfs[0] != pfs[1], are_distinct, "{claim}");
    }
    cluster.delete(pods).unwrap();
    assert_nothing_left();
}

/// A deployment of the device plugin's time, with the resource of a class: the same environment, and its network.
#[test]
fn unchanged_deployment_gets_its_vf_by_the_resource() {
    let driver = Driver::start();
    if !driver.has_release(36) {
        println!("skipped: extended resources of classes need Kubernetes 1.36");
        return;
    }
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let cluster = &driver.cluster;
    examples::apply(cluster, "An unchanged Deployment");
    let mut name = None;
    wait_for("the deployment has a pod", || {
        let list = cluster
            .api
            .get("/api/v1/namespaces/default/pods?labelSelector=app%3Dunchanged");
        name = list
            .ok()
            .and_then(|list| Some(list["items"][0]["metadata"]["name"].as_str()?.to_owned()));
        name.is_some()
    })
    .unwrap();
    let pod = cluster.pod_there(&name.unwrap());
    let now = pod.wait_running().unwrap();
    let claim = &now["status"]["extendedResourceClaimStatus"];
    assert!(claim["resourceClaimName"].is_string(), "{now}");
    let device = variable("PCIDEVICE_EXAMPLE_COM_FAST").replace([':', '.'], "-");
    assert_eq!(vlan_of(pf, &device), 103);
    cluster
        .api
        .delete("/apis/apps/v1/namespaces/default/deployments/unchanged")
        .unwrap();
    pod.wait_gone().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

#[test]
fn pod_uses_a_pool_of_each_front_end() {
    let driver = Driver::start();
    let (first, second) = driver.pfs();
    let before = [first.baseline().unwrap(), second.baseline().unwrap()];
    let cluster = &driver.cluster;
    cluster.wait_allocatable("example.com/storage", 4).unwrap();
    for (name, resource, vlan) in [
        ("claimed", "", 104),
        ("counted", "example.com/storage", 105),
    ] {
        let settings = json!({ "vlan": vlan });
        cluster
            .apply_network(&network(name, resource, &settings))
            .unwrap();
    }
    let devices = json!({ "requests": [request("vf", CLASS, 1)],
        "config": [parameters(&["vf"], &json!({ "network": "default/claimed" }))] });
    cluster.api.replace(&template("one", &devices)).unwrap();
    let networks = json!([{ "name": "counted" }, { "name": "claimed" }]);
    let mut spec = claiming("both-front-ends", &networks, &["one"]);
    let one = json!({ "example.com/storage": "1" });
    let resources = &mut spec["spec"]["containers"][0]["resources"];
    resources["limits"] = one.clone();
    resources["requests"] = one;
    let pod = cluster.pod(&spec).unwrap();
    pod.wait_running().unwrap();
    let claim = claims_of(cluster, &pod).remove(0);
    assert_eq!(vlan_of(first, &allocated(&claim, "vf")), 104);
    let counted = pod.network_status("default/counted").unwrap();
    let counted = counted["device-info"]["pci"]["pci-address"].clone();
    let counted = counted.as_str().unwrap().replace([':', '.'], "-");
    assert_eq!(vlan_of(second, &counted), 105);
    let published = cluster.devices().unwrap();
    assert!(published.iter().all(|device| device["name"] != counted));
    pod.delete().unwrap();
    wait_restored(first, &before[0]).unwrap();
    wait_restored(second, &before[1]).unwrap();
    assert_nothing_left();
}

/// Whether the kubelet shows the health of a claim that was made from a template.
///
/// That of 1.34 looks for it by the pod's name of the claim, and finds none (`UpdateAllocatedResourcesStatus`, `pkg/kubelet/cm/dra/manager.go`).
fn shows_health(driver: &Driver) -> bool {
    driver.has_release(36)
}

#[test]
fn pulled_cable_is_in_the_pod_and_taints_the_device() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let cluster = &driver.cluster;
    let pod = examples::pod(cluster, "One claim for two containers");
    pod.wait_running().unwrap();
    let claim = cluster.api.get(SHARED).unwrap();
    let device = allocated(&claim, "vf");
    for (carrier, health) in [(true, "Healthy"), (false, "Unhealthy"), (true, "Healthy")] {
        pf.set_carrier(carrier).unwrap();
        let mut last = Value::Null;
        let shown = wait_for(&format!("the pod's device is {health}"), || {
            let pod = pod.read().unwrap_or_default();
            let containers = pod["status"]["containerStatuses"].clone();
            last = containers[0]["allocatedResourcesStatus"][0].clone();
            let mut all = containers.as_array().into_iter().flatten();
            let is_so = all.all(|container| {
                let resources = &container["allocatedResourcesStatus"][0]["resources"];
                resources[0]["health"] == health
            });
            is_so || !shows_health(&driver)
        });
        shown.unwrap_or_else(|error| panic!("{error:#}: {last}"));
        if !carrier && driver.has_release(36) {
            let message = last["resources"][0]["message"].as_str();
            assert!(message.is_some_and(|text| !text.is_empty()), "{last}");
        }
        wait_for("the taint follows", || {
            let all = cluster.devices().unwrap_or_default();
            let found = all.iter().find(|one| one["name"] == device);
            let taint = found.and_then(|one| one["taints"][0]["key"].as_str());
            let is_right = taint.is_some_and(|key| key.ends_with("/unhealthy")) != carrier;
            found.is_some() && (is_right || !driver.has_release(36))
        })
        .unwrap();
    }
    pod.delete().unwrap();
    cluster.api.delete(SHARED).unwrap();
    assert_nothing_left();
}

/// A pod keeps its VF while the other PF's VFs are removed and made again, and each change is published.
#[test]
fn vfs_made_and_removed_are_published_under_a_pod() {
    let driver = Driver::start();
    let (pf, other) = driver.pfs();
    let before = pf.baseline().unwrap();
    let cluster = &driver.cluster;
    let devices = json!({ "requests": [request("vf", CLASS, 1)] });
    cluster.api.replace(&template("bare", &devices)).unwrap();
    let pod = cluster
        .pod(&claiming("stays", &json!([]), &["bare"]))
        .unwrap();
    pod.wait_running().unwrap();
    let claim = claims_of(cluster, &pod).remove(0);
    let device = allocated(&claim, "vf");
    for count in [2, 0, 7, 3, 7] {
        other.set_vfs(count).unwrap();
        cluster.wait_devices(SECOND, count.min(3)).unwrap();
        let all = cluster.wait_devices(RESOURCE, 7).unwrap();
        assert!(all.contains(&device), "{all:?}");
    }
    pod.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

/// A claim with the driver `vfio-pci`: the container has the device nodes, the device stays healthy and shows its own driver, which is bound again after the claim.
#[test]
fn claim_binds_a_userspace_driver_and_the_own_one_comes_back() {
    let driver = Driver::start();
    let cluster = &driver.cluster;
    let pod = examples::pod(cluster, "A VF for DPDK");
    let log = || last_lines(&Service::DraDriver.log());
    let running = pod.wait_running();
    running.unwrap_or_else(|error| panic!("{error:#}\n{}", log()));
    let claim = claims_of(cluster, &pod).remove(0);
    let device = allocated(&claim, "vf");
    let address = at_vf(&device);
    let bound = || {
        let path = format!("/sys/bus/pci/devices/{address}/driver");
        fs::read_link(path)
            .ok()?
            .file_name()?
            .to_str()
            .map(str::to_owned)
    };
    assert_eq!(bound().as_deref(), Some("vfio-pci"));
    let (root, value) = container_with("PCIDEVICE_EXAMPLE_COM_FAST");
    assert_eq!(value, address);
    let nodes = fs::read_dir(root.join("dev/vfio")).unwrap();
    assert_eq!(nodes.count(), 2, "the group and the control device");

    let is_published_unchanged = |when: &str| {
        let all = cluster.devices().unwrap();
        let found = all.iter().find(|one| one["name"] == device).unwrap();
        assert_eq!(found["attributes"]["driver"]["string"], "igbvf", "{when}");
        assert_eq!(found["taints"], Value::Null, "{when}");
    };
    wait_for("the device is healthy in the pod", || {
        let pod = pod.read().unwrap_or_default();
        let status = &pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"];
        status[0]["resources"][0]["health"] == "Healthy" || !shows_health(&driver)
    })
    .unwrap();
    is_published_unchanged("while the claim is prepared");
    Service::DraDriver.kill().unwrap();
    cluster.start_driver(ACCOUNT).unwrap();
    cluster.wait_devices(RESOURCE, 7).unwrap();
    is_published_unchanged("after a restart of the driver");

    pod.delete().unwrap();
    wait_for("its own driver is bound", || {
        bound().as_deref() == Some("igbvf")
    })
    .unwrap();
    cluster.wait_devices(RESOURCE, 7).unwrap();
    is_published_unchanged("after the claim");
    assert_nothing_left();
}
