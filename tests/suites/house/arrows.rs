//! The arrows between the packages according to `cargo tree`: allowed links between packages, and forbidden dependencies of the programs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sriov_lab::checkout::workspace;

/// Each package with the packages of the workspace that it may link. No other arrow is allowed.
const ARROWS: &[(&str, &[&str])] = &[
    ("sriov-host", &[]),
    ("sriov-config", &["sriov-host"]),
    ("sriov-device-info", &["sriov-host"]),
    ("sriov-inventory", &["sriov-host", "sriov-config"]),
    (
        "sriov-node",
        &[
            "sriov-host",
            "sriov-config",
            "sriov-device-info",
            "sriov-inventory",
        ],
    ),
    (
        "sriov-device-plugin",
        &[
            "sriov-host",
            "sriov-config",
            "sriov-device-info",
            "sriov-inventory",
            "sriov-node",
        ],
    ),
    (
        "sriov-dra-driver",
        &[
            "sriov-host",
            "sriov-config",
            "sriov-device-info",
            "sriov-inventory",
            "sriov-node",
        ],
    ),
    (
        "sriov-cni",
        &["sriov-host", "sriov-config", "sriov-device-info"],
    ),
];

/// The packages of the tests, which no package that ships may link.
const TESTS: [&str; 5] = [
    "sriov-lab",
    "sriov-testkit",
    "sriov-bench",
    "sriov-demo",
    "sriov-suites",
];

/// Packages that a program must not link, directly or indirectly, and the reason.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "sriov-device-plugin",
        &[
            "netlink-proto",
            "netlink-packet-route",
            "netlink-packet-core",
            "netlink-sys",
        ],
        "the device plugin holds no netlink",
    ),
    (
        "sriov-dra-driver",
        &[
            "netlink-proto",
            "netlink-packet-route",
            "netlink-packet-core",
            "netlink-sys",
        ],
        "the DRA driver holds no netlink",
    ),
    (
        "sriov-device-plugin",
        &["kube", "k8s-openapi", "rustls"],
        "the device plugin has no access to the API server",
    ),
    (
        "sriov-cni",
        &["tonic", "prost", "hyper", "h2"],
        "the CNI plugin holds no gRPC",
    ),
    (
        "sriov-config",
        &["netlink-proto", "sysfs-class", "pci-info", "nix", "tokio"],
        "config opens no file and reads no host",
    ),
    (
        "sriov-device-info",
        &["netlink-proto", "sysfs-class", "pci-info", "tokio"],
        "device-info reads no host",
    ),
    (
        "sriov-inventory",
        &["tokio", "tonic", "prost", "hyper", "nix", "pci-info"],
        "the inventory is pure",
    ),
];

/// The folders of the packages of the workspace.
pub(crate) fn members() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["metadata", "--offline", "--locked", "--no-deps"])
        .args(["--format-version", "1"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let folder = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let folder = manifest.parent().unwrap().strip_prefix(workspace());
        folder.unwrap().to_str().unwrap().to_owned()
    };
    packages.map(folder).collect()
}

/// Names of all packages that a package links with its default features; tests' own dependencies do not count.
pub(crate) fn linked(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["tree", "--offline", "--locked", "--package", package])
        .args([
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(
        names.remove(package),
        "`cargo tree` does not show {package} itself:\n{text}"
    );
    names
}

#[test]
fn packages_link_only_allowed_packages() {
    for (package, may_know) in ARROWS {
        let knows = linked(package);
        for (other, _) in ARROWS {
            assert!(
                !knows.contains(*other) || may_know.contains(other),
                "{package} must not link {other}"
            );
        }
        for other in TESTS {
            assert!(!knows.contains(other), "{package} must not link {other}");
        }
    }
}

#[test]
fn programs_link_no_forbidden_package() {
    for (package, forbidden, why) in FORBIDDEN {
        let linked = linked(package);
        for name in *forbidden {
            assert!(!linked.contains(*name), "{package} links {name}: {why}");
        }
    }
}

#[test]
fn forbidden_packages_are_found_where_allowed() {
    assert!(linked("sriov-cni").contains("netlink-proto"));
    assert!(linked("sriov-device-plugin").contains("tonic"));
}

/// Whether a program that ships has a feature of `sriov-host`.
fn has_host_feature(package: &str, feature: &str) -> bool {
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["tree", "--offline", "--locked", "--package", package])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} with {f}"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let host = text.lines().find(|line| line.starts_with("sriov-host "));
    let (_, features) = host.unwrap().split_once(" with ").unwrap();
    features
        .trim_end_matches(" (*)")
        .split(',')
        .any(|held| held == feature)
}

#[test]
fn the_inventory_reads_no_host() {
    for feature in ["sysfs", "notice", "netlink"] {
        assert!(!has_host_feature("sriov-inventory", feature), "{feature}");
    }
    assert!(has_host_feature("sriov-node", "sysfs"));
}

#[test]
fn no_program_that_ships_has_the_fake_kernel() {
    for package in ["sriov-cni", "sriov-device-plugin", "sriov-dra-driver"] {
        assert!(has_host_feature(package, "sysfs"));
        assert!(!has_host_feature(package, "fake"), "{package}");
    }
}
