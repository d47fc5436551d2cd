//! Resource lists as `sriov-network-device-plugin` documents them and as sriov-network-operator writes them, on one constructed machine.
//!
//! Each file of `corpus/` has the keys of the document with its name. Four documents are not JSON; they are tested as they are, and repaired.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use sriov_testkit::plugin;
use sriov_testkit::tree::Tree;

/// A PCI function: vendor and device id, class, driver, and the netdev with its ARP hardware type.
struct Function {
    id: (&'static str, &'static str),
    class: &'static str,
    driver: &'static str,
    netdev: Option<(&'static str, &'static str)>,
}

const ETHER: &str = "1";
const INFINIBAND: &str = "32";

fn network(
    id: (&'static str, &'static str),
    driver: &'static str,
    netdev: Option<(&'static str, &'static str)>,
) -> Function {
    let class = "0x020000";
    Function {
        id,
        class,
        driver,
        netdev,
    }
}

fn describe(tree: &Tree, address: &str, function: &Function) {
    for (attribute, text) in [
        ("vendor", function.id.0),
        ("device", function.id.1),
        ("class", function.class),
    ] {
        tree.file(&format!("{address}/{attribute}"), text).unwrap();
    }
    tree.bind(address, function.driver).unwrap();
    if let Some((name, kind)) = function.netdev {
        tree.netdev(address, name, kind).unwrap();
    }
}

/// Adds a PF and its VFs, which are the functions of one slot.
fn card(tree: &Tree, pf: &str, of_pf: &Function, slot: &str, vfs: &[Function]) {
    tree.pf(pf, of_pf.driver, 8).unwrap();
    describe(tree, pf, of_pf);
    for (index, of_vf) in vfs.iter().enumerate() {
        let address = format!("{slot}.{index}");
        tree.vf(pf, &address, of_vf.driver).unwrap();
        describe(tree, &address, of_vf);
    }
}

fn machine(root: &Path) {
    let tree = Tree::new(root);
    intel(&tree);
    connectx(&tree);
    bluefield(&tree);
    let bnxt = |id, netdev| network(("0x14e4", id), "bnxt_en", netdev);
    card(
        &tree,
        "0000:86:00.0",
        &bnxt("0x16d7", Some(("ens9f0", ETHER))),
        "0000:86:02",
        &[bnxt("0x16dc", None)],
    );
}

/// Adds an X710, an E810 and an FPGA.
fn intel(tree: &Tree) {
    let (i40e, vf) = (("0x8086", "0x1572"), ("0x8086", "0x154c"));
    let pf = |name| network(i40e, "i40e", Some((name, ETHER)));
    card(
        tree,
        "0000:3b:00.0",
        &pf("enp59s0f0"),
        "0000:3b:02",
        &[
            network(vf, "iavf", Some(("ens1f0v0", ETHER))),
            network(vf, "vfio-pci", None),
            network(vf, "iavf", None),
            network(vf, "vfio-pci", None),
        ],
    );
    card(
        tree,
        "0000:3b:00.1",
        &pf("enp59s0f1"),
        "0000:3b:0a",
        &[
            network(vf, "iavf", None),
            network(("0x8086", "0x1889"), "iavf", None),
        ],
    );
    let fpga = Function {
        class: "0x120000",
        ..network(("0x8086", "0x0d90"), "vfio-pci", None)
    };
    describe(tree, "0000:d8:00.0", &fpga);
}

fn mlx5(id: &'static str, netdev: Option<(&'static str, &'static str)>) -> Function {
    network(("0x15b3", id), "mlx5_core", netdev)
}

/// Adds devices with RDMA, InfiniBand and vDPA.
fn connectx(tree: &Tree) {
    card(
        tree,
        "0000:af:00.0",
        &mlx5("0x1017", Some(("ens785f0", ETHER))),
        "0000:af:01",
        &[
            mlx5("0x1018", None),
            mlx5("0x1018", None),
            mlx5("0x1016", None),
        ],
    );
    card(
        tree,
        "0000:b0:00.0",
        &mlx5("0x101b", Some(("ib0", INFINIBAND))),
        "0000:b0:01",
        &[mlx5("0x101c", None)],
    );
    for (address, rdma) in [
        ("0000:af:01.0", "mlx5_2"),
        ("0000:af:01.2", "mlx5_4"),
        ("0000:b0:01.0", "mlx5_7"),
        ("0000:3b:0a.1", "irdma0"),
    ] {
        tree.file(&format!("{address}/infiniband/{rdma}/node_type"), "1: CA")
            .unwrap();
    }
    card(
        tree,
        "0000:b1:00.0",
        &mlx5("0x101d", Some(("ens8f0", ETHER))),
        "0000:b1:01",
        &[mlx5("0x101e", None), mlx5("0x101e", None)],
    );
    for (index, kind) in ["vhost_vdpa", "virtio_vdpa"].iter().enumerate() {
        let device = format!("0000:b1:01.{index}/vdpa{index}");
        tree.link(
            &format!("{device}/driver"),
            &format!("../../../bus/vdpa/drivers/{kind}"),
        )
        .unwrap();
        tree.link(
            &format!("/sys/bus/vdpa/devices/vdpa{index}"),
            &format!("../../pci/devices/{device}"),
        )
        .unwrap();
    }
}

/// Adds subfunctions.
fn bluefield(tree: &Tree) {
    tree.pf("0000:03:00.0", "mlx5_core", 8).unwrap();
    describe(tree, "0000:03:00.0", &mlx5("0xa2d6", Some(("p0", ETHER))));
    for (id, sfnum) in [(2, 0), (3, 1), (4, 5), (5, 6)] {
        tree.subfunction("0000:03:00.0", id, sfnum).unwrap();
    }
}

/// Messages about a configuration and the ids of each pool, without the name of the file.
fn check_text(text: &str, code: i32, expected: &Expect) {
    let dir = tempfile::tempdir().unwrap();
    machine(dir.path());
    let file = dir.path().join("f.json");
    fs::write(&file, text).unwrap();
    let output = Command::new(plugin::binary().unwrap())
        .arg(format!("--host-root={}", dir.path().display()))
        .args(["check-config", "--explain"])
        .arg(&file)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let name = format!("{}: ", file.display());
    let mut told = String::new();
    for line in out.lines().filter(|line| !line.is_empty()) {
        let line = line.strip_prefix(&name).unwrap_or(line);
        told += line
            .strip_prefix("  ")
            .map_or(line, |device| device.split(": ").next().unwrap());
        told.push('\n');
    }
    expected.assert_eq(&told);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
}

fn read(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    fs::read_to_string(dir.join(name)).unwrap()
}

fn check(name: &str, expected: &Expect) {
    check_text(&read(name), 0, expected);
}

/// Checks that the documented text is refused and the repaired one is accepted.
fn check_repaired(name: &str, refusal: &Expect, (from, to): (&str, &str), expected: &Expect) {
    let text = read(name);
    check_text(&text, 1, refusal);
    let repaired = text.replacen(from, to, 1);
    assert_ne!(repaired, text);
    check_text(&repaired, 0, expected);
}

#[test]
fn deployments() {
    check(
        "deployments.json",
        &expect![[r"
        4 usable resources, 0 mistakes, 0 warnings
        intel.com/intel_sriov_netdevice: 4 devices
        0000:3b:02.0
        0000:3b:02.2
        0000:3b:0a.0
        0000:3b:0a.1
        intel.com/intel_sriov_dpdk: 2 devices
        0000:3b:02.1
        0000:3b:02.3
        mellanox.com/mlnx_sriov_rdma: 1 device
        0000:af:01.0
        intel.com/bcm_sriov_bnxt: 1 device
        0000:86:02.0
    "]],
    );
}

#[test]
fn ddp() {
    check(
        "ddp_e800.json",
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        intel.com/e800_default: 0 devices
        intel.com/e800_comms: 0 devices
    "]],
    );
    check(
        "ddp_x700.json",
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        intel.com/x700_gtp: 0 devices
        intel.com/x700_pppoe: 0 devices
    "]],
    );
    // The documentation also shows the four together.
    let both = read("ddp_e800.json")
        .trim_end()
        .trim_end_matches("]}")
        .trim_end()
        .to_owned();
    let rest = read("ddp_x700.json").replacen("{\"resourceList\": [", "", 1);
    check_text(
        &format!("{both},{rest}"),
        0,
        &expect![[r"
        4 usable resources, 0 mistakes, 0 warnings
        intel.com/e800_default: 0 devices
        intel.com/e800_comms: 0 devices
        intel.com/x700_gtp: 0 devices
        intel.com/x700_pppoe: 0 devices
    "]],
    );
}

#[test]
fn dpdk() {
    check(
        "dpdk.json",
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        intel.com/intel_sriov_dpdk: 2 devices
        0000:3b:02.1
        0000:3b:02.3
    "]],
    );
    check(
        "dpdk_all_nics.json",
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        dpdk.org/nic: 4 devices
        0000:3b:02.1
        0000:3b:02.3
        0000:af:01.0
        0000:af:01.2
    "]],
    );
    check(
        "dpdk_mlnx.json",
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        mellanox.com/connectx4: 1 device
        0000:af:01.2
        mellanox.com/connectx5: 1 device
        0000:af:01.0
    "]],
    );
    // Two surplus commas, which one repair removes.
    let (from, to) = ("],\n      },\n", "]\n      }\n");
    check_repaired(
        "dpdk_virt.json",
        &expect![[r"
        mistake: document at line 8 column 7: not JSON: trailing comma
        0 usable resources, 1 mistake, 0 warnings
    "]],
        (from, to),
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        intel.com/intel_sriov_dpdk: 2 devices
        0000:3b:02.1
        0000:3b:02.3
    "]],
    );
}

#[test]
fn rdma() {
    check(
        "rdma.json",
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        intel.com/intel_rdma: 1 device
        0000:3b:0a.1
        intel.com/mlnx_rdma: 2 devices
        0000:af:01.0
        0000:af:01.2
    "]],
    );
}

#[test]
fn vdpa() {
    let (from, to) = ("[{\n        {", "[\n        {");
    check_repaired(
        "vdpa.json",
        &expect![[r"
        mistake: document at line 3 column 9: not JSON: key must be a string
        0 usable resources, 1 mistake, 0 warnings
    "]],
        (from, to),
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        intel.com/vdpa_mlx_virtio: 1 device
        0000:b1:01.1
        intel.com/vdpa_mlx_vhost: 1 device
        0000:b1:01.0
    "]],
    );
}

#[test]
fn subfunctions() {
    check(
        "subfunctions.json",
        &expect![[r"
            1 usable resource, 0 mistakes, 0 warnings
            nvidia.com/bf2_sf: 2 devices
            mlx5_core.sf.3
            mlx5_core.sf.4
        "]],
    );
    let (from, to) = ("\"101e\"],", "\"101e\"]");
    check_repaired(
        "subfunctions_and_vfs.json",
        &expect![[r"
            mistake: document at line 9 column 13: not JSON: trailing comma
            0 usable resources, 1 mistake, 0 warnings
        "]],
        (from, to),
        &expect![[r"
            2 usable resources, 0 mistakes, 0 warnings
            nvidia.com/cx6dx_vf: 2 devices
            0000:b1:01.0
            0000:b1:01.1
            nvidia.com/cx6dx_sf: 4 devices
            mlx5_core.sf.2
            mlx5_core.sf.3
            mlx5_core.sf.4
            mlx5_core.sf.5
        "]],
    );
}

#[test]
fn everything() {
    let (from, to) = ("\"fast\"}}},", "\"fast\"}}}");
    check_repaired(
        "everything.json",
        &expect![[r"
            mistake: document at line 15 column 5: not JSON: trailing comma
            0 usable resources, 1 mistake, 0 warnings
        "]],
        (from, to),
        &expect![[r"
            8 usable resources, 0 mistakes, 0 warnings
            intel.com/intel_sriov_netdevice: 3 devices
            0000:3b:02.0
            0000:3b:02.2
            0000:3b:0a.0
            intel.com/intel_sriov_dpdk: 2 devices
            0000:3b:02.1
            0000:3b:02.3
            mellanox.com/mlnx_sriov_rdma: 1 device
            0000:af:01.0
            intel.com/infiniband_rdma_netdevs: 1 device
            0000:b0:01.0
            intel.com/ct6dx_vdpa_vhost: 1 device
            0000:b1:01.0
            intel.com/intel_fpga: 1 device
            0000:d8:00.0
            nvidia.com/bf2_sf: 2 devices
            mlx5_core.sf.3
            mlx5_core.sf.4
            intel.com/with_info: 1 device
            0000:86:02.0
        "]],
    );
}

#[test]
fn operator_lists_give_the_same_pools() {
    check(
        "operator_node.json",
        &expect![[r"
        2 usable resources, 0 mistakes, 0 warnings
        intel.com/intelnics: 2 devices
        0000:3b:02.0
        0000:3b:02.1
        intel.com/mlxnics: 1 device
        0000:af:01.0
    "]],
    );
    check(
        "operator_root_device.json",
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        intel.com/ens1f1: 1 device
        0000:3b:0a.0
    "]],
    );
    check(
        "operator_two_policies.json",
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        intel.com/shared: 3 devices
        0000:3b:02.0
        0000:3b:02.2
        0000:3b:02.3
    "]],
    );
}

#[test]
fn keys_match_in_any_case() {
    check(
        "capitals.json",
        &expect![[r"
        1 usable resource, 0 mistakes, 0 warnings
        x.y/a: 1 device
        0000:3b:02.0
    "]],
    );
}

#[test]
fn each_file_of_the_corpus_has_a_test() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let this = include_str!("corpus.rs");
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            this.contains(&format!("\"{name}\"")),
            "no test reads {name}"
        );
    }
}
