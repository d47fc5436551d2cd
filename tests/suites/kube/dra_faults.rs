//! Events while pods hold claims: restarts of the kubelet and of the driver, lost calls of the CNI plugin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use sriov_testkit::cluster::claims::{claiming, parameters, request, template};
use sriov_testkit::cluster::workload::network;
use sriov_testkit::cluster::{Pod, Service, last_lines, wait_for, wait_restored};
use sriov_testkit::dra_plugin::{ClaimName, DraPlugin};
use sriov_testkit::node::ip_json;

use crate::dra::held::{assert_nothing_left, claims_of, files};
use crate::dra_publish::setup::{ACCOUNT, CLASS, Driver, RESOURCE};

const HAND_OVER: &str = "/var/lib/cni/sriov/claims";
const CDI: &str = "/var/run/cdi";

/// A CNI plugin that calls ours but reports the success of a DEL that it does not pass on; removed with this.
pub(crate) struct LossyPlugin;

impl LossyPlugin {
    /// Its type in a network.
    pub(crate) const NAME: &str = "lossy";
    const FILE: &str = "/opt/cni/bin/lossy";
    const SCRIPT: &str =
        "#!/bin/sh\n[ \"$CNI_COMMAND\" = DEL ] && exit 0\nexec /opt/cni/bin/sriov\n";

    pub(crate) fn install() -> Self {
        fs::write(Self::FILE, Self::SCRIPT).unwrap();
        fs::set_permissions(Self::FILE, fs::Permissions::from_mode(0o755)).unwrap();
        Self
    }
}

impl Drop for LossyPlugin {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::FILE);
    }
}

/// A pod with one VF in a network, created now.
pub(crate) fn attached<'a>(driver: &'a Driver, name: &str, cni: &str) -> Pod<'a> {
    let cluster = &driver.cluster;
    let mut manifest: Value =
        serde_json::from_str(&network("life", "", &json!({ "vlan": 110 }))).unwrap();
    let config = manifest["spec"]["config"].as_str().unwrap();
    manifest["spec"]["config"] = json!(config.replace("\"sriov\"", &format!("\"{cni}\"")));
    cluster.apply_network(&manifest.to_string()).unwrap();
    let devices = json!({ "requests": [request("vf", CLASS, 1)],
        "config": [parameters(&["vf"], &json!({ "network": "default/life" }))] });
    cluster.api.replace(&template("life", &devices)).unwrap();
    let networks = json!([{ "name": "life" }]);
    cluster.pod(&claiming(name, &networks, &["life"])).unwrap()
}

/// The interface of a pod.
fn interface(pod: &Pod<'_>) -> Value {
    let link = ip_json(
        Some(&pod.netns().unwrap()),
        &["link", "show", "dev", "net1"],
    );
    let link = link.unwrap();
    json!([link[0]["address"], link[0]["ifindex"]])
}

fn slice_ids(driver: &Driver) -> Vec<Value> {
    let slices = driver.cluster.slices().unwrap_or_default();
    let mut ids: Vec<Value> = slices
        .iter()
        .map(|one| one["metadata"]["uid"].clone())
        .collect();
    ids.sort_by_key(ToString::to_string);
    ids
}

/// The kubelet deletes the slices of its node when it starts; the driver publishes them again, and a pod that waits gets its VF.
#[test]
fn restarted_kubelet_finds_the_slices_again() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let stays = attached(&driver, "stays", "sriov");
    stays.wait_running().unwrap();
    let held = interface(&stays);
    let old = slice_ids(&driver);
    Service::Kubelet.kill().unwrap();
    let waits = attached(&driver, "created-meanwhile", "sriov");
    driver.cluster.start_kubelet().unwrap();
    wait_for("the driver has published all slices again", || {
        let new = slice_ids(&driver);
        new.len() == old.len() && new.iter().all(|id| !old.contains(id))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", last_lines(&Service::DraDriver.log())));
    driver.cluster.wait_devices(RESOURCE, 7).unwrap();
    waits.wait_running().unwrap();
    assert_eq!(interface(&stays), held);
    driver.cluster.delete([stays, waits]).unwrap();
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

/// The driver is killed before it prepares a claim, after it, and while the pod is deleted.
#[test]
fn pod_gets_and_returns_its_vf_whenever_the_driver_is_killed() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let restart = || {
        Service::DraDriver.kill().unwrap();
        driver.cluster.start_driver(ACCOUNT).unwrap();
    };
    let first = attached(&driver, "killed-before", "sriov");
    restart();
    first.wait_running().unwrap();
    let second = attached(&driver, "killed-after", "sriov");
    wait_for("a second claim is prepared", || files(HAND_OVER).len() == 2).unwrap();
    restart();
    second.wait_running().unwrap();
    let held = [interface(&first), interface(&second)];
    restart();
    driver.cluster.wait_devices(RESOURCE, 7).unwrap();
    assert_eq!([interface(&first), interface(&second)], held);
    let deletion = std::thread::scope(|scope| {
        let deletion = scope.spawn(|| driver.cluster.delete([first, second]));
        wait_for("an interface is released", || {
            pf.baseline().is_ok_and(|now| now == before)
        })
        .unwrap();
        restart();
        deletion.join().unwrap()
    });
    deletion.unwrap();
    assert_nothing_left();
}

/// DEL reports success and does nothing; the driver finds the attachment in the journal and undoes it before it releases the claim.
#[test]
fn lost_del_is_undone_before_the_claim_is_released() {
    let _plugin = LossyPlugin::install();
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let pod = attached(&driver, "lost-del", LossyPlugin::NAME);
    pod.wait_running().unwrap();
    assert_ne!(pf.baseline().unwrap(), before);
    pod.delete().unwrap();
    // The kubelet has reported the end of the pod only after the driver released the claim.
    wait_restored(pf, &before).unwrap();
    assert_nothing_left();
}

#[test]
fn pod_ends_when_the_driver_is_back() {
    let driver = Driver::start();
    let (pf, _) = driver.pfs();
    let before = pf.baseline().unwrap();
    let pod = attached(&driver, "left-alone", "sriov");
    pod.wait_running().unwrap();
    Service::DraDriver.kill().unwrap();
    let deletion = std::thread::scope(|scope| {
        let deletion = scope.spawn(|| pod.delete());
        wait_for("the interface is released", || {
            pf.baseline().is_ok_and(|now| now == before)
        })
        .unwrap();
        assert_eq!(files(HAND_OVER).len(), 1, "the claim is prepared still");
        driver.cluster.start_driver(ACCOUNT).unwrap();
        deletion.join().unwrap()
    });
    deletion.unwrap();
    assert_nothing_left();
    assert!(Path::new(HAND_OVER).exists());
}

/// The kubelet releases both at once; another order must not touch what the other claim has.
#[test]
fn one_claim_of_a_pod_is_released_before_the_other() {
    let driver = Driver::start();
    let cluster = &driver.cluster;
    let devices = json!({ "requests": [request("vf", CLASS, 1)] });
    for name in ["first", "second"] {
        cluster.api.replace(&template(name, &devices)).unwrap();
    }
    let pod = claiming("two-claims", &json!([]), &["first", "second"]);
    let pod = cluster.pod(&pod).unwrap();
    pod.wait_running().unwrap();
    let names = claims_of(cluster, &pod).into_iter().map(|claim| ClaimName {
        namespace: "default".to_owned(),
        name: claim["metadata"]["name"].as_str().unwrap().to_owned(),
        uid: claim["metadata"]["uid"].as_str().unwrap().to_owned(),
    });
    let [first, second] = names.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(files(CDI).len(), 2);

    let plugin = DraPlugin::connect(Path::new("/var/lib/kubelet")).unwrap();
    plugin.unprepare(&first).unwrap();
    assert_eq!(files(CDI).len(), 1);
    let hand_over = fs::read_to_string(Path::new(HAND_OVER).join(&files(HAND_OVER)[0])).unwrap();
    assert!(!hand_over.contains(&first.uid) && hand_over.contains(&second.uid));
    let devices = plugin.prepare(&second).unwrap();
    assert_eq!(devices.len(), 1, "the other claim is still prepared");
    pod.delete().unwrap();
    assert_nothing_left();
}
