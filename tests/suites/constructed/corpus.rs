//! Resource lists as `sriov-network-device-plugin` documents them and as sriov-network-operator writes them, on one constructed machine.
//!
//! Each file of `corpus/` has the keys of the document with its name. Four documents are not JSON; they are tested as they are, and repaired.

mod machine;

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use sriov_testkit::plugin;

use self::machine::machine;

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
