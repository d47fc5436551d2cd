//! Subfunctions as devices of a pool, over the real protocol, on a constructed machine: the emulated NIC has none.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sriov_testkit::kubelet::{Kubelet, Resources};
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::tree::Tree;
use tonic::{Code, Status};

const PF: &str = "0000:03:00.0";
const CONFIG: &str = r#"{"resourceList": [
  {"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"vendors": ["8086"]}},
  {"resourceName": "first", "resourcePrefix": "x.y", "deviceType": "auxNetDevice", "additionalInfo": {"*": {"k": "all"}, "0000:03:00.0": {"k": "pf"}},
    "selectors": {"auxTypes": ["sf"], "pfNames": ["P0#1,3"], "isRdma": true, "needVhostNet": true}},
  {"resourceName": "rest", "resourcePrefix": "x.y", "deviceType": "auxNetDevice", "selectors": [{"auxTypes": ["sf"], "rootDevices": ["0000:03:00.0#0-9"]}]}
]}"#;

fn flags(dir: &Path) -> Vec<String> {
    plugin::flags(dir, "config.json", &[("cni-dir", "cni"), ("host-root", "")])
}

/// A PF with a VF, five subfunctions and an auxiliary device of another kind; the PF carries the default route, and so does subfunction 4.
fn machine(tree: &Tree) {
    tree.pf(PF, "mlx5_core", 8).unwrap();
    tree.vf(PF, "0000:03:00.2", "mlx5_core").unwrap();
    tree.netdev(PF, "p0", "1").unwrap();
    for (id, sfnum) in [(2, 0), (3, 1), (4, 2), (5, 3), (6, 4)] {
        tree.subfunction(PF, id, sfnum).unwrap();
    }
    tree.auxiliary(PF, "mlx5_core.eth.0", "mlx5_core.eth")
        .unwrap();
    // Subfunction 2 has no driver.
    fs::remove_file(tree.device(PF).join("mlx5_core.sf.4/driver")).unwrap();
    tree.netdev(&format!("{PF}/mlx5_core.sf.6"), "eth6", "1")
        .unwrap();
    for (id, rdma, verbs) in [(3, "mlx5_8", "uverbs8"), (5, "mlx5_9", "uverbs9")] {
        let device = format!("{PF}/mlx5_core.sf.{id}");
        tree.file(&format!("{device}/infiniband/{rdma}/node_type"), "1: CA")
            .unwrap();
        tree.file(&format!("{device}/infiniband_verbs/{verbs}/ibdev"), rdma)
            .unwrap();
    }
    let route = |name: &str| format!("{name}\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\n");
    let routes = format!("Iface\n{}{}", route("p0"), route("eth6"));
    tree.file("/proc/net/route", &routes).unwrap();
}

#[test]
fn subfunctions_are_listed_allocated_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let tree = Tree::new(dir.path());
    machine(&tree);
    fs::write(at("config.json"), CONFIG).unwrap();
    let kubelet = Kubelet::start(&at("kubelet"), false).unwrap();
    let flags = flags(dir.path());
    let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &at("log")).unwrap();

    let ids =
        |known: &Resources, name: &str| known.get(name).map(sriov_testkit::kubelet::Resource::ids);
    let has = |known: &Resources, name: &str, expected: &[&str]| {
        ids(known, name).is_some_and(|ids| ids == expected)
    };
    let known = kubelet
        .wait_for("all pools are listed", |known| {
            has(known, "x.y/vf", &["0000:03:00.2"])
                && has(known, "x.y/first", &["mlx5_core.sf.3", "mlx5_core.sf.5"])
                && has(known, "x.y/rest", &["mlx5_core.sf.2"])
        })
        .unwrap();
    let device = &known["x.y/first"].lists[0][0];
    let topology = device.topology.as_ref().unwrap();
    assert_eq!(topology.nodes[0].id, 1, "the NUMA node is that of the PF");

    let answer = kubelet
        .allocate("x.y/first", &["mlx5_core.sf.5", "mlx5_core.sf.3"])
        .unwrap();
    assert_eq!(
        answer.envs["PCIDEVICE_X_Y_FIRST"],
        "mlx5_core.sf.5,mlx5_core.sf.3"
    );
    let info: Value = serde_json::from_str(&answer.envs["PCIDEVICE_X_Y_FIRST_INFO"]).unwrap();
    assert_eq!(
        info["mlx5_core.sf.3"],
        json!({
            "generic": { "deviceID": "mlx5_core.sf.3" },
            "rdma": { "rdma_dev": "mlx5_8", "uverbs": "/dev/infiniband/uverbs8" },
            "vhost": { "net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun" },
            "extra": { "k": "pf" },
        })
    );
    let mut nodes: Vec<&str> = answer
        .devices
        .iter()
        .map(|node| node.host_path.as_str())
        .collect();
    nodes.sort_unstable();
    assert_eq!(
        nodes,
        [
            "/dev/infiniband/uverbs8",
            "/dev/infiniband/uverbs9",
            "/dev/net/tun",
            "/dev/vhost-net"
        ]
    );
    let files = fs::read_dir(at("devinfo")).unwrap();
    let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // The directory has the copy of the configuration as well.
    assert_eq!(
        names.find(|name| !name.starts_with(".last-good-")),
        None,
        "the specification has no type for a subfunction"
    );

    fs::remove_dir_all(tree.device(PF).join("mlx5_core.sf.5")).unwrap();
    fs::remove_file(at("sys/bus/auxiliary/devices/mlx5_core.sf.5")).unwrap();
    let code = |ids: &[&str]| {
        let error = kubelet.allocate("x.y/first", ids).unwrap_err();
        error.downcast_ref::<Status>().unwrap().code()
    };
    assert!(matches!(
        code(&["mlx5_core.sf.5"]),
        Code::FailedPrecondition | Code::NotFound
    ));
    assert_eq!(code(&["mlx5_core.sf.2"]), Code::NotFound);
    assert_eq!(code(&[PF]), Code::NotFound);
    plugin.signal(Signal::SIGHUP).unwrap();
    kubelet
        .wait_for("the removed subfunction is no longer offered", |known| {
            has(known, "x.y/first", &["mlx5_core.sf.3"])
        })
        .unwrap();
    plugin.stop().unwrap();
}

#[test]
fn explain_gives_reasons_for_subfunctions() {
    let dir = tempfile::tempdir().unwrap();
    machine(&Tree::new(dir.path()));
    fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    let flags = flags(dir.path());
    let tell = |words: &[&str]| {
        let mut command = Command::new(plugin::binary().unwrap());
        let output = command.args(&flags).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let check = |words: &[&str], expected: &Expect| expected.assert_eq(&tell(words));
    check(
        &["explain", "mlx5_core.sf.3"],
        &expect![[r"
        mlx5_core.sf.3 is in x.y/first
          NetworkController 8086:10ca, SF 1 of 0000:03:00.0 (p0), driver mlx5_core.sf, NUMA node 1, RDMA mlx5_8
          x.y/vf: it is for netDevice
          x.y/first: its selectors match
          x.y/rest: its selectors match, but x.y/first comes first
    "]],
    );
    check(
        &["explain", "mlx5_core.sf.6"],
        &expect![[r"
        mlx5_core.sf.6 is in no pool: it carries a default route
          NetworkController 8086:10ca, SF 4 of 0000:03:00.0 (p0), driver mlx5_core.sf, NUMA node 1, ether eth6 with the default route
          x.y/vf: it is for netDevice
          x.y/first: pfNames requires P0#1,3; isRdma requires true
          x.y/rest: its selectors match
    "]],
    );
    check(
        &["explain", "x.y/first"],
        &expect![[r"
        x.y/first: 2 devices
          mlx5_core.sf.3: NetworkController 8086:10ca, SF 1 of 0000:03:00.0 (p0), driver mlx5_core.sf, NUMA node 1, RDMA mlx5_8
          mlx5_core.sf.5: NetworkController 8086:10ca, SF 3 of 0000:03:00.0 (p0), driver mlx5_core.sf, NUMA node 1, RDMA mlx5_9
          not mlx5_core.sf.2: pfNames requires P0#1,3; isRdma requires true
          not mlx5_core.sf.4: no driver is bound to it
          not mlx5_core.sf.6: it carries a default route
    "]],
    );
    let inventory: Value = serde_json::from_str(&tell(&["inventory", "--json"])).unwrap();
    let devices = inventory["devices"].as_array().unwrap().iter();
    let device = devices.map(|device| {
        let of = |key: &str| device[key].as_str().unwrap_or("-");
        format!("{}: {} {}\n", of("id"), of("pool"), of("leftOut"))
    });
    expect![[r"
        0000:03:00.0: - it carries a default route
        0000:03:00.2: x.y/vf -
        mlx5_core.sf.2: x.y/rest -
        mlx5_core.sf.3: x.y/first -
        mlx5_core.sf.4: - no driver is bound to it
        mlx5_core.sf.5: x.y/first -
        mlx5_core.sf.6: - it carries a default route
    "]]
    .assert_eq(&device.collect::<String>());
}
