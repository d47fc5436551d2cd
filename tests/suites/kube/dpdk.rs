//! A pod with a program of DPDK on a VF that it requested as a resource: Debian's `dpdk-testpmd` answers pings across the wire, in the VLAN of its network.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sriov_testkit::cluster::workload::{network, pod};
use sriov_testkit::cluster::{Cluster, Pod, wait_for};
use sriov_testkit::node::{Driver, Far, Pf, Tap, ping};

const RESOURCE: &str = "example.com/dpdk";
const MAC: &str = "02:00:00:00:0d:01";
/// An address of the program, which answers for every address.
const NEAR: &str = "192.0.2.1";

/// The command of the container: the address of the VF comes from the environment alone.
const PROGRAM: &str = "exec /usr/bin/dpdk-testpmd --no-huge -m 64 --no-telemetry --no-shconf -l 0,1 \
    -d /usr/lib/dpdk/librte_mempool_ring.so -d /usr/lib/dpdk/librte_net_e1000.so \
    -a \"$PCIDEVICE_EXAMPLE_COM_DPDK\" -- --forward-mode=icmpecho --total-num-mbufs=2048 --nb-cores=1 --stats-period=1";

fn spec() -> Value {
    let networks = json!([{ "name": "fast" }]);
    let mut pod = pod("testpmd", &networks, &json!({ RESOURCE: "1" }));
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!("localhost/dpdk:1");
    container["command"] = json!(["/bin/busybox", "sh", "-c", PROGRAM]);
    // vfio pins the memory of the program, more than a process may lock without it.
    container["securityContext"] = json!({ "capabilities": { "add": ["IPC_LOCK"] } });
    pod
}

/// The logs of the pod's container and of its restarts.
fn log(pod: &Pod<'_>) -> String {
    let dirs = fs::read_dir("/var/log/pods").unwrap().flatten();
    let is_own = |path: &PathBuf| path.to_string_lossy().contains(&format!("_{}_", pod.name));
    let own = dirs.map(|entry| entry.path()).find(is_own);
    let files = own.and_then(|dir| fs::read_dir(dir.join("main")).ok());
    let texts = files.into_iter().flatten().flatten();
    texts
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect()
}

/// Whether the program answers pings in a VLAN.
fn is_answered_in(far: &Far, vlan: u16, times: u8) -> bool {
    let name = far.join(vlan, "192.0.2.2").unwrap();
    far.inside(&format!("neighbour add {NEAR} lladdr {MAC} dev {name}"))
        .unwrap();
    let is_answered = ping(&far.netns.name, NEAR, times, 1).unwrap();
    far.inside(&format!("link delete {name}")).unwrap();
    is_answered
}

#[test]
fn program_of_a_pod_answers_pings_in_its_vlan_only() {
    let cluster = Cluster::join().unwrap();
    let (near, far) = (Pf::with_vfs(0, 7).unwrap(), Pf::with_vfs(1, 7).unwrap());
    let _vfio = Driver::bind(&near.vf(1).unwrap(), "vfio-pci").unwrap();
    let bound = near.baseline().unwrap();
    let list = json!({ "resourceList": [{
        "resourceName": "dpdk", "resourcePrefix": "example.com",
        "selectors": [{ "drivers": ["vfio-pci"] }],
    }] });
    cluster.offer(&list.to_string()).unwrap();
    cluster.wait_allocatable(RESOURCE, 1).unwrap();
    let settings = json!({ "vlan": 100, "mac": MAC });
    cluster
        .apply_network(&network("fast", RESOURCE, &settings))
        .unwrap();
    let pod = cluster.pod(&spec()).unwrap();
    pod.wait_running().unwrap();
    let started = wait_for("dpdk-testpmd forwards", || {
        log(&pod).contains("packet forwarding")
    });
    started.unwrap_or_else(|error| panic!("{error:#}\n{}", log(&pod)));

    let other = Far::new(&far, 0).unwrap();
    let tap = Tap::new(
        Some(&other.netns.name),
        &other.netdev,
        &["vlan", "and", "icmp"],
    )
    .unwrap();
    let answers = is_answered_in(&other, 100, 20);
    assert!(answers, "{}\n{}", log(&pod), tap.frames());
    assert!(!is_answered_in(&other, 200, 2), "{}", tap.frames());
    let from = format!("{MAC} >");
    assert!(
        tap.has(&[&from, "vlan 100", "echo reply"]),
        "{}",
        tap.frames()
    );
    assert!(!tap.has(&[&from, "vlan 200"]), "{}", tap.frames());

    drop((tap, other));
    far.set_vfs(7).unwrap();
    pod.delete().unwrap();
    wait_for("the VF has its earlier settings", || {
        near.baseline().is_ok_and(|now| now == bound)
    })
    .unwrap();
}
