//! Other devices and lifecycles: drivers for user space, init containers, VFs that are added and removed, a VF of another pod.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use sriov_testkit::cluster::workload::{STORAGE, network, pod};
use sriov_testkit::cluster::{Cluster, wait_for, wait_restored};
use sriov_testkit::node::{Driver, Pf, ip_json};

/// The root directory, as a path of the node, of the only container that has a variable, and the value of the variable.
pub(crate) fn container_with(variable: &str) -> (PathBuf, String) {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut found = processes.filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let mut words = environment.split(|byte| *byte == 0);
        let value = words.find_map(|word| {
            let (name, value) = str::from_utf8(word).ok()?.split_once('=')?;
            (name == variable).then(|| value.to_owned())
        })?;
        Some((entry.path().join("root"), value))
    });
    found.next().unwrap()
}

#[test]
fn userspace_vf_of_a_pod_gets_nodes_and_settings() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    let vf = pf.vf(1).unwrap();
    let _driver = Driver::bind(&vf, "vfio-pci").unwrap();
    let bound = pf.baseline().unwrap();
    let list = json!({ "resourceList": [{
        "resourceName": "dpdk", "resourcePrefix": "example.com",
        "selectors": [{ "drivers": ["vfio-pci"] }],
    }] });
    cluster.offer(&list.to_string()).unwrap();
    let settings = json!({ "vlan": 100, "spoofchk": "off", "trust": "on" });
    cluster
        .apply_network(&network("dpdk", "example.com/dpdk", &settings))
        .unwrap();
    cluster.wait_allocatable("example.com/dpdk", 1).unwrap();
    let pod = cluster
        .pod(&pod(
            "dpdk",
            &json!([{ "name": "dpdk" }]),
            &json!({ "example.com/dpdk": "1" }),
        ))
        .unwrap();
    pod.wait_running().unwrap();

    let (root, device) = container_with("PCIDEVICE_EXAMPLE_COM_DPDK");
    assert_eq!(device, vf);
    let group = fs::read_link(format!("/sys/bus/pci/devices/{vf}/iommu_group")).unwrap();
    let group = group.file_name().unwrap().to_owned();
    let mut nodes: Vec<_> = fs::read_dir(root.join("dev/vfio"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "devices")
        .collect();
    nodes.sort();
    assert_eq!(nodes, [group, "vfio".into()]);
    let vf = &ip_json(None, &["link", "show", "dev", &pf.netdev]).unwrap()[0]["vfinfo_list"][1];
    assert_eq!(vf["vlan_list"][0]["vlan"], 100, "{vf}");
    assert_eq!(
        (&vf["trust"], &vf["spoofchk"]),
        (&json!(true), &json!(false))
    );
    let status = pod.network_status("default/dpdk").unwrap();
    assert_eq!(status["device-info"]["pci"]["pci-address"], device);

    pod.delete().unwrap();
    wait_for("the VF has its earlier settings", || {
        pf.baseline().is_ok_and(|now| now == bound)
    })
    .unwrap();
}

#[test]
fn init_container_uses_the_vf_of_the_container() {
    let cluster = Cluster::join().unwrap();
    Pf::with_vfs(1, 7).unwrap();
    cluster.offer_examples().unwrap();
    cluster.apply_network(STORAGE).unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let one = json!({ "example.com/storage": "1" });
    let mut spec = pod("prepared", &json!([{ "name": "storage" }]), &one);
    spec["spec"]["initContainers"] = json!([{
        "name": "prepare",
        "image": "localhost/pod:1",
        "imagePullPolicy": "Never",
        "command": ["/bin/busybox", "sh", "-c", "/bin/busybox ifconfig -a net1 && echo $PCIDEVICE_EXAMPLE_COM_STORAGE > /dev/termination-log"],
        "resources": { "limits": one, "requests": one },
    }]);
    let pod = cluster.pod(&spec).unwrap();
    let now = pod.wait_running().unwrap();
    let ended = &now["status"]["initContainerStatuses"][0]["state"]["terminated"];
    let (_, device) = container_with("PCIDEVICE_EXAMPLE_COM_STORAGE");
    assert_eq!(ended["message"].as_str().unwrap().trim(), device, "{ended}");
    pod.delete().unwrap();
}

#[test]
fn added_and_removed_vfs_change_the_allocatable_count() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    cluster.offer_examples().unwrap();
    for count in [2, 5, 0, 7] {
        pf.set_vfs(count).unwrap();
        cluster
            .wait_allocatable("example.com/storage", u64::try_from(count).unwrap())
            .unwrap();
    }
}

#[test]
fn vf_of_another_pod_is_refused_with_its_holder() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(0, 7).unwrap();
    let before = pf.baseline().unwrap();
    cluster.offer_trading().unwrap();
    let one = json!({ "example.com/trading": "1" });
    let owner = cluster
        .pod(&pod("owner", &json!([{ "name": "trading" }]), &one))
        .unwrap();
    owner.wait_running().unwrap();
    let status = owner.network_status("default/trading").unwrap();
    let device = &status["device-info"]["pci"]["pci-address"];
    let taken = pf.baseline().unwrap();

    let by_name = json!({ "deviceID": device, "vlan": 7 });
    let manifest = network("thief", "", &by_name);
    cluster.apply_network(&manifest).unwrap();
    let thief = cluster
        .pod(&pod("thief", &json!([{ "name": "thief" }]), &json!({})))
        .unwrap();
    let message = thief.wait_event("is attached to container").unwrap();
    assert!(message.contains(device.as_str().unwrap()), "{message}");
    thief.delete().unwrap();
    assert_eq!(pf.baseline().unwrap(), taken);
    owner.delete().unwrap();
    wait_restored(&pf, &before).unwrap();
}

#[test]
fn pulled_cable_appears_in_the_status_of_the_pod() {
    let cluster = Cluster::join().unwrap();
    let pf = Pf::with_vfs(1, 7).unwrap();
    cluster.offer_examples().unwrap();
    cluster.apply_network(STORAGE).unwrap();
    cluster.wait_allocatable("example.com/storage", 7).unwrap();
    let one = json!({ "example.com/storage": "1" });
    let pod = cluster
        .pod(&pod("cable", &json!([{ "name": "storage" }]), &one))
        .unwrap();
    pod.wait_running().unwrap();
    let vf = pf.vf(0).unwrap();
    for (carrier, health) in [(true, "Healthy"), (false, "Unhealthy"), (true, "Healthy")] {
        pf.set_carrier(carrier).unwrap();
        let wanted = json!([{ "name": "example.com/storage", "resources": [{ "resourceID": vf, "health": health }] }]);
        let mut shown = json!(null);
        wait_for(&format!("the pod's device is {health}"), || {
            let pod = pod.read().unwrap_or_default();
            shown = pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"].clone();
            shown == wanted
        })
        .unwrap_or_else(|error| unreachable!("{error}: {shown}"));
    }
    pod.delete().unwrap();
}
