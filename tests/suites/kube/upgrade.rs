//! Changes of both programs under seven running pods, by `DaemonSets` and in the order of `docs/migration.md`: from the Go plugins to ours and back, from the version before to this one and back.
//!
//! Each change prints for how long the node had no allocatable device.

mod daemon_set;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sriov_lab::checkout::VERSION;
use sriov_lab::kubernetes::EARLIER;
use sriov_testkit::cluster::{Cluster, Pod};
use sriov_testkit::cni::{BIN, STATE};
use sriov_testkit::node::wait_within;

use self::daemon_set::DaemonSet;
use super::dropin::{Holdings, Node, RESOURCE};

const VFS: usize = 7;
/// Limit for a whole change: each of its waits has a shorter limit.
const LONGEST: Duration = Duration::from_mins(20);
/// Between two looks at the allocatable devices; the kubelet of the lab reports them each second.
const PAUSE: Duration = Duration::from_millis(100);

/// A running pod, and its state at its start.
struct Running<'a> {
    pod: Pod<'a>,
    holdings: Holdings,
    status: Value,
}

/// What a pod loses when it fails or restarts.
fn status(pod: &Pod<'_>) -> Value {
    let now = pod.read().unwrap();
    let container = &now["status"]["containerStatuses"][0];
    json!([
        now["metadata"]["uid"],
        now["status"]["phase"],
        container["containerID"],
        container["restartCount"],
    ])
}

/// Starts a pod with a VF.
fn start<'a>(node: &'a Node, name: &str) -> Running<'a> {
    let pod = node.pod(name);
    Running {
        holdings: node.holdings(&pod),
        status: status(&pod),
        pod,
    }
}

/// Starts a pod for each VF.
fn start_all(node: &Node) -> Vec<Running<'_>> {
    let asked: Vec<Pod<'_>> = (0..VFS)
        .map(|index| node.ask(&format!("pod-{index}")))
        .collect();
    let running = asked.into_iter().map(|pod| {
        pod.wait_running().unwrap();
        Running {
            holdings: node.holdings(&pod),
            status: status(&pod),
            pod,
        }
    });
    running.collect()
}

/// Creates the ConfigMap that all device plugins use.
fn configure(node: &Node) {
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "sriovdp-config", "namespace": "kube-system" },
        "data": { "config.json": node.config() },
    });
    node.cluster.api.replace(&map).unwrap();
}

/// Makes the state directory as newer Go plugins than the lab's do: without the right to enter it (`pci_allocator.go`).
fn shut_state() {
    for dir in [
        STATE,
        &format!("{STATE}/pci"),
        &format!("{STATE}/pci/vf_lock"),
    ] {
        fs::create_dir_all(dir).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o600)).unwrap();
    }
}

/// Makes a change, waits for all devices, and prints the time without allocatable devices, as the scheduler sees them.
fn measured<T>(node: &Node, what: &str, change: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let (changed, took, without) = thread::scope(|scope| {
        let watch = scope.spawn(|| time_without_devices(&node.cluster, &is_over));
        let over = Over(&is_over);
        let begin = Instant::now();
        let changed = change();
        let all = u64::try_from(VFS).unwrap();
        node.cluster.wait_allocatable(RESOURCE, all).unwrap();
        let took = begin.elapsed();
        drop(over);
        (changed, took, watch.join().unwrap())
    });
    // Not by `println!`, whose output the test harness captures.
    let mut out = std::io::stdout();
    writeln!(
        out,
        "\n{what}: {:.1} s, of these {:.1} s without allocatable devices",
        took.as_secs_f64(),
        without.as_secs_f64()
    )
    .unwrap();
    changed
}

/// Ends the watch of the devices, also after a failure.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long the API server reports no allocatable device, until a change is over.
fn time_without_devices(cluster: &Cluster, is_over: &AtomicBool) -> Duration {
    let (mut total, mut empty_since) = (Duration::ZERO, None);
    wait_within(LONGEST, PAUSE, "the change is over", || {
        let is_empty = cluster.allocatable(RESOURCE).is_ok_and(|count| count == 0);
        let now = Instant::now();
        if let Some(since) = empty_since.take() {
            total += now.duration_since(since);
        }
        empty_since = is_empty.then_some(now);
        is_over.load(Ordering::Relaxed)
    })
    .unwrap();
    total
}

/// Checks that no pod failed or restarted, all have their interfaces, and the VF of one pod serves another pod.
fn assert_kept<'a>(node: &'a Node, pods: &mut Vec<Running<'a>>, exchanged: usize, name: &str) {
    for one in &*pods {
        assert_eq!(status(&one.pod), one.status, "{}", one.pod.name);
        assert_eq!(node.holdings(&one.pod), one.holdings, "{}", one.pod.name);
    }
    let Running { pod, holdings, .. } = pods.remove(exchanged);
    pod.delete().unwrap();
    let next = start(node, name);
    assert_eq!(next.holdings.device, holdings.device);
    pods.push(next);
}

/// Deletes all pods, and checks that nothing is left of them.
fn delete_all(node: &Node, pods: Vec<Running<'_>>) {
    let pods = pods.into_iter().map(|one| one.pod);
    node.cluster.delete(pods).unwrap();
    node.assert_nothing_left();
}

fn installed() -> Vec<u8> {
    fs::read(Path::new(BIN).join("sriov")).unwrap()
}

/// The sets of the Go plugins.
struct Go<'a> {
    device_plugin: DaemonSet<'a>,
    cni: DaemonSet<'a>,
}

fn from_go_to_ours<'a>(node: &'a Node, go: Go<'a>) -> DaemonSet<'a> {
    go.device_plugin.delete();
    let ours = DaemonSet::ours(&node.cluster, VERSION);
    go.cni.delete();
    ours
}

fn from_ours_to_go<'a>(node: &'a Node, ours: DaemonSet<'a>) -> Go<'a> {
    ours.delete();
    let cni = DaemonSet::go_cni(&node.cluster);
    Go {
        device_plugin: DaemonSet::go_device_plugin(&node.cluster),
        cni,
    }
}

#[test]
fn pods_keep_vfs_from_go_to_ours_and_back() {
    let node = Node::new(VFS);
    configure(&node);
    shut_state();
    let go = Go {
        cni: DaemonSet::go_cni(&node.cluster),
        device_plugin: DaemonSet::go_device_plugin(&node.cluster),
    };
    assert!(installed() != node.ours);
    let all = u64::try_from(VFS).unwrap();
    node.cluster.wait_allocatable(RESOURCE, all).unwrap();
    let mut pods = start_all(&node);

    let ours = measured(&node, "from the Go plugins to ours", || {
        from_go_to_ours(&node, go)
    });
    assert!(installed() == node.ours);
    assert_kept(&node, &mut pods, 0, "by-ours");

    let go = measured(&node, "from ours to the Go plugins", || {
        from_ours_to_go(&node, ours)
    });
    assert!(installed() != node.ours);
    // The Go plugin releases an attachment of ours.
    assert_kept(&node, &mut pods, VFS - 1, "by-go");

    let ours = measured(&node, "from the Go plugins to ours again", || {
        from_go_to_ours(&node, go)
    });
    assert_kept(&node, &mut pods, 0, "by-ours-again");
    delete_all(&node, pods);
    ours.delete();
}

#[test]
fn pods_keep_vfs_over_an_upgrade_and_a_rollback() {
    let node = Node::new(VFS);
    configure(&node);
    let set = DaemonSet::ours(&node.cluster, EARLIER);
    let earlier = installed();
    assert!(earlier != node.ours);
    let all = u64::try_from(VFS).unwrap();
    node.cluster.wait_allocatable(RESOURCE, all).unwrap();
    let mut pods = start_all(&node);

    measured(&node, "from the version before to this one", || {
        set.upgrade(VERSION);
    });
    assert!(installed() == node.ours);
    assert_kept(&node, &mut pods, 0, "upgraded");

    measured(&node, "back to the version before", || set.upgrade(EARLIER));
    assert!(installed() == earlier);
    assert_kept(&node, &mut pods, VFS - 1, "rolled-back");
    delete_all(&node, pods);
    set.delete();
}
