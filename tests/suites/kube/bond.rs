//! A pod with a bond over VFs of two PFs: the traffic continues when one of the PFs loses its cable.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::workload::pod;
use sriov_testkit::cluster::{Cluster, wait_for};
use sriov_testkit::node::{Pf, ip, ip_json, ping};

const LEGS: &str = include_str!("../../../deploy/examples/nad-bond.yaml");
const FAR: &str = "198.51.100.1";

/// Loads the bonding driver, without its default bond.
fn load_bonding() {
    if Path::new("/sys/module/bonding").exists() {
        return;
    }
    let mut modules: Vec<_> = std::fs::read_dir("/lab/modules")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    modules.sort();
    for module in modules {
        let is_bonding = module.to_string_lossy().contains("bonding");
        let parameters = is_bonding.then_some("max_bonds=0");
        let loaded = Command::new("/bin/busybox")
            .arg("insmod")
            .arg(&module)
            .args(parameters)
            .status();
        assert!(loaded.unwrap().success(), "{}", module.display());
    }
}

/// Whether the far end answers, and the active leg of the bond.
fn active_leg(netns: &str) -> Option<String> {
    let answers = ping(netns, FAR, 1, 1).unwrap();
    let bond = ip_json(Some(netns), &["link", "show", "dev", "bond0"]).unwrap();
    let leg = bond.pointer("/0/linkinfo/info_data/active_slave");
    let leg = leg.and_then(Value::as_str)?;
    answers.then(|| leg.to_owned())
}

#[test]
fn bond_over_two_pfs_survives_a_pulled_cable() {
    load_bonding();
    let cluster = Cluster::join().unwrap();
    let pfs = [Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap()];
    let baseline = || Some([pfs[0].baseline().ok()?, pfs[1].baseline().ok()?]);
    let before = baseline();
    let pool = |name: &str, pf: &str| json!({ "resourceName": name, "resourcePrefix": "example.com", "selectors": [{ "pfNames": [pf] }] });
    let list = json!({ "resourceList": [pool("leg_a", "pf0"), pool("leg_b", "pf1")] });
    cluster.offer(&list.to_string()).unwrap();
    for network in documents(LEGS).unwrap().iter().take(2) {
        cluster.apply_network(&network.to_string()).unwrap();
    }
    cluster.wait_allocatable("example.com/leg_a", 7).unwrap();
    cluster.wait_allocatable("example.com/leg_b", 7).unwrap();
    let legs = json!([{ "name": "leg-a" }, { "name": "leg-b" }]);
    let both = json!({ "example.com/leg_a": "1", "example.com/leg_b": "1" });
    let pod = cluster.pod(&pod("bonded", &legs, &both)).unwrap();
    pod.wait_running().unwrap();

    // The reference plugin `bond` would do this, but the emulated VFs keep their carrier when the PF loses it: the bond must monitor by ARP.
    let netns = pod.netns().unwrap();
    let in_pod = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        ip(&[&["-netns", &netns], words.as_slice()].concat()).unwrap();
    };
    in_pod(&format!(
        "link add bond0 type bond mode active-backup fail_over_mac active arp_interval 200 arp_ip_target {FAR}"
    ));
    for leg in ["net1", "net2"] {
        in_pod(&format!("link set {leg} down"));
        in_pod(&format!("link set {leg} master bond0"));
    }
    in_pod("address add 198.51.100.9/24 dev bond0");
    in_pod("link set bond0 type bond primary net1");
    in_pod("link set bond0 up");
    let far = format!("{FAR}/24");
    ip(&["address", "add", &far, "dev", &pfs[1].netdev]).unwrap();
    let speaks_by = |leg: &str| {
        wait_for(&format!("the bond uses {leg}"), || {
            active_leg(&netns).as_deref() == Some(leg)
        })
    };
    speaks_by("net1").unwrap();
    pfs[0].set_carrier(false).unwrap();
    let other = speaks_by("net2");
    pfs[0].set_carrier(true).unwrap();
    other.unwrap();
    speaks_by("net1").unwrap();

    ip(&["address", "del", &far, "dev", &pfs[1].netdev]).unwrap();
    pod.delete().unwrap();
    wait_for("the VFs have their earlier state", || baseline() == before).unwrap();
}
