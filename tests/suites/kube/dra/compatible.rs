//! Our driver instead of `dra-driver-sriov`: under its name, with its classes and claims.

use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::claims::{DRIVER, claiming, request, template};
use sriov_testkit::cluster::{Service, last_lines, wait_restored};

use super::examples;
use super::held::{allocated, assert_nothing_left, claims_of};
use super::{at_vf, status_with_interface, vlan_of};
use crate::devices::container_with;
use crate::dra_publish::setup::{ACCOUNT, Driver, MANIFESTS};

const THEIRS: &str = "sriovnetwork.k8snetworkplumbingwg.io";
const KUBECONFIG: &str = "/run/virtfn/sriovnetwork.kubeconfig";

/// Device nodes that the modules of vhost and tun make, with their minor numbers (`Documentation/admin-guide/devices.txt`).
const NODES: [(&str, u64); 2] = [("/dev/vhost-net", 238), ("/dev/net/tun", 200)];

/// The driver under the other name and with an account for it; it ends with this.
struct Renamed;

impl Renamed {
    fn start(driver: &Driver) -> Self {
        // As the chart renders them with another name; the other account keeps its rights.
        let account = format!("{ACCOUNT}-renamed");
        let manifests = MANIFESTS.replace(DRIVER, THEIRS).replace(ACCOUNT, &account);
        let cluster = &driver.cluster;
        cluster
            .permit_driver(&documents(&manifests).unwrap())
            .unwrap();
        cluster
            .write_kubeconfig(Path::new(KUBECONFIG), &account)
            .unwrap();
        Service::DraDriver.stop().unwrap();
        let started = cluster.start_registered(&[
            &format!("--kubeconfig={KUBECONFIG}"),
            &format!("--driver-name={THEIRS}"),
            "--sriovnetwork-names=true",
        ]);
        started.unwrap();
        Self
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        let _ = Service::DraDriver.stop();
    }
}

#[test]
fn claim_of_the_go_driver_is_served_unchanged() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let cluster = &driver.cluster;
    for (path, minor) in NODES {
        if !Path::new(path).exists() {
            std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
            mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(10, minor)).unwrap();
        }
    }
    let renamed = Renamed::start(&driver);
    let pod = examples::pod(cluster, "Claims of that driver, unchanged");
    let status = pod.wait_running();
    status.unwrap_or_else(|error| panic!("{error:#}\n{}", last_lines(&Service::DraDriver.log())));

    let claim = claims_of(cluster, &pod).remove(0);
    let device = allocated(&claim, "vf");
    assert_eq!(vlan_of(pf, &device), 105);
    let shown = pod.network_status("default/vf-test").unwrap();
    assert_eq!(shown["interface"], "md0");
    let (root, addresses) = container_with("SRIOVNETWORK_PCI_ADDRESSES");
    assert_eq!(addresses, at_vf(&device));
    for (path, _) in NODES {
        assert!(root.join(path.trim_start_matches('/')).exists(), "{path}");
    }
    status_with_interface(cluster, &pod, |network| network["interfaceName"] == "md0");
    pod.delete().unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
    binds_a_driver(&driver);
    drop(renamed);
}

/// A claim for DPDK: its variable names the group that is in the container.
fn binds_a_driver(driver: &Driver) {
    let cluster = &driver.cluster;
    let parameters = json!({ "apiVersion": format!("{THEIRS}/v1alpha1"), "kind": "VfConfig", "driver": "vfio-pci" });
    let devices = json!({
        "requests": [request("vf", THEIRS, 1)],
        "config": [{ "requests": ["vf"], "opaque": { "driver": THEIRS, "parameters": parameters } }],
    });
    let name = "dpdk-of-theirs";
    cluster.api.replace(&template(name, &devices)).unwrap();
    let pod = claiming(name, &json!([]), &[name]);
    let pod = cluster.pod(&pod).unwrap();
    pod.wait_running().unwrap();
    let claim = claims_of(cluster, &pod).remove(0);
    let device = allocated(&claim, "vf").replace('-', "_");
    let (root, group) = container_with(&format!("SRIOVNETWORK_{device}_VFIO_DEVICE"));
    assert!(group.starts_with("/dev/vfio/"), "{group}");
    assert!(root.join(group.trim_start_matches('/')).exists(), "{group}");
    pod.delete().unwrap();
    assert_nothing_left();
}
