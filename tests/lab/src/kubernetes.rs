//! `cargo lab kubernetes`: the lab's node with real, unmodified Kubernetes components, and the suites that use it.
//!
//! Start at [`run`]. `control` runs the control plane outside the node, `podman` adds another runtime, `dpdk` and `earlier` images, `disk` makes the disk.
//! `sriov_testkit::cluster` starts the programs on the node.

mod applied;
mod choice;
mod control;
mod disk;
mod dpdk;
mod earlier;
mod podman;
pub mod render;
mod schemas;
mod structs;
pub(crate) mod tools;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub(crate) use self::choice::Choice;
pub use self::control::ControlPlane;
pub use self::earlier::EARLIER;
use crate::architecture::Architecture;
use crate::build;
use crate::cache::Cache;
use crate::debian::first_of;
use crate::debian::{self, NodeParts};
use crate::files::{add_texts, add_with_libraries};
use crate::go;
use crate::image;
use crate::oci::{self, Image};
use crate::peers::{self, PCI_IDS, PEER_BIN, PEER_DEVICE_PLUGIN};
use crate::qemu::Node;
use crate::report::{Planned, Report};
use crate::ship;
use crate::suites::{Kind, Suites};

/// How often the suite `life` creates and deletes its pods: a round takes 20 seconds.
const ROUNDS: &str = "1";

/// The version of Kubernetes that CI runs.
pub(crate) const NEWEST: &str = match go::KUBERNETES {
    [newest, ..] => newest,
    [] => "",
};

/// How the suites of the DRA driver begin.
pub(crate) const CLAIMS: &str = "dra";

/// Version of the container components in the cache.
const LAYOUT: &str = "containers-v2";

const PACKAGES: &[&str] = &["etcd-server", "runc"];

/// containerd's programs.
const CONTAINERD: &[&str] = &["containerd", "containerd-shim-runc-v2", "ctr"];

/// Reference plugins in addition to those of the plain node.
const PLUGINS: &[&str] = &["ptp", "loopback"];

/// Reference plugins of the current release: those of Debian do not support version 1.1.0.
const CURRENT: &[&str] = &["host-local", "static", "dhcp", "tuning", "sbr", "bandwidth"];

/// A pod that sleeps until it gets a signal: the first process of a container ignores every signal without a handler.
const ENTRYPOINT: [&str; 4] = [
    "/bin/busybox",
    "sh",
    "-c",
    "trap exit TERM; /bin/busybox sleep 2147483 & wait",
];

/// Configuration files of the node.
const FILES: &[(&str, &str)] = &[
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/resolv.conf", ""),
    (
        "etc/containerd/config.toml",
        include_str!("kubernetes/node/containerd.toml"),
    ),
    (
        "etc/kubernetes/kubelet.yaml",
        include_str!("kubernetes/node/kubelet.yaml"),
    ),
    (
        "etc/cni/net.d/00-multus.conf",
        include_str!("kubernetes/node/multus.conf"),
    ),
];

/// Runs the chosen Kubernetes suites; true if all passed.
///
/// # Errors
/// If a component is missing, cannot be built, or does not start.
pub fn run(words: &[&str]) -> Result<bool> {
    let choice = Choice::parse(words);
    let (planned, _plane) = prepare(&choice)?;
    let mut report = Report::default();
    report.node(planned)?;
    if choice.suites.is_empty() {
        report.step("rendered manifests", || render::run(false))?;
    }
    Ok(report.print())
}

/// Starts the control plane and describes the node with its suites.
///
/// # Errors
/// If a component is missing, cannot be built, or does not start.
pub(crate) fn prepare(choice: &Choice<'_>) -> Result<(Planned, ControlPlane)> {
    let Choice {
        node: name,
        version,
        rounds,
        suites: names,
        ..
    } = *choice;
    let cache = Cache::open()?;
    let parts = debian::node_parts(&cache)?;
    let debian = debian::packages(&cache, LAYOUT, PACKAGES)?;
    let programs = go::programs(&cache, version)?;
    let suites = Suites::build(Kind::Kube, names)?;
    let has_claims = suites.have(CLAIMS);
    let binaries = if has_claims {
        build::whole_dist(Architecture::Amd64)?
    } else {
        build::dist(Architecture::Amd64)?
    };
    let mut node = Node::new(&cache, &parts)?;
    let disk = disk::make(&cache, &node.run_path("disk"))?;
    node.make_room_for_containers(disk);
    add_containers(&mut node, &parts, &debian, &programs)?;
    podman::add(&cache, &mut node)?;
    if suites.has("dpdk") {
        dpdk::add(&cache, &parts, &mut node)?;
    }
    if suites.has("upgrade") {
        earlier::add(&binaries, &mut node)?;
    }
    for (place, (name, text)) in image::modules(&parts, &["bonding"])?.iter().enumerate() {
        let file = node.run_path(name);
        std::fs::write(&file, text)?;
        node.add_file(&format!("lab/modules/{place}-{name}"), &file)?;
    }
    let mut plane = ControlPlane::start(&debian, &programs, &node.run_path("control"))?;
    if has_claims || suites.has("schedule") || suites.has("upgrade") {
        plane.start_controllers(&programs)?;
    }
    for (name, file) in [
        (
            "usr/bin/kubelet".to_owned(),
            programs.kubernetes.join("kubelet"),
        ),
        (
            "opt/cni/bin/multus".to_owned(),
            programs.network.join("multus"),
        ),
        (
            "usr/bin/cnitool".to_owned(),
            programs.network.join("cnitool"),
        ),
        ("opt/cni/bin/sriov".to_owned(), binaries.cni.clone()),
        (
            "opt/virtfn/sriov-device-plugin".to_owned(),
            binaries.device_plugin.clone(),
        ),
        (
            "etc/kubernetes/kubelet.kubeconfig".to_owned(),
            plane.kubeconfig("kubelet"),
        ),
        (
            "etc/kubernetes/multus.kubeconfig".to_owned(),
            plane.kubeconfig("multus"),
        ),
        (
            control::AUTHORITY.trim_start_matches('/').to_owned(),
            plane.certificate(),
        ),
    ] {
        node.add_file(&name, &file)?;
    }
    if let Some(driver) = &binaries.dra_driver {
        node.add_file("opt/virtfn/sriov-dra-driver", driver)?;
    }
    for plugin in CURRENT {
        node.add_file(
            &format!("opt/cni/bin/{plugin}"),
            &programs.network.join(plugin),
        )?;
    }
    add_peers(&cache, choice, &mut node)?;
    let images = node.run_path("virtfn.tar");
    oci::write(&ship::images(std::slice::from_ref(&binaries)), &images)?;
    node.add_file("lab/images/virtfn.tar", &images)?;
    suites.add_to(&mut node)?;
    let planned = Planned {
        name,
        node,
        jobs: suites.jobs(&[
            format!("VIRTFN_API={}", plane.address()),
            format!("VIRTFN_ROUNDS={rounds}"),
        ]),
    };
    Ok((planned, plane))
}

/// The Go plugins, in other directories than our plugins.
fn add_peers(cache: &Cache, choice: &Choice<'_>, node: &mut Node) -> Result<()> {
    let given = |file: &str| Ok(PathBuf::from(file));
    let sriov = choice.peer_cni.map_or_else(|| peers::cni(cache), given)?;
    let device_plugin = choice.peer_device_plugin;
    let device_plugin = device_plugin.map_or_else(|| peers::device_plugin(cache), given)?;
    let cni = Path::new(PEER_BIN).join("sriov");
    for (place, file) in [
        (cni.as_path(), sriov),
        (Path::new(PEER_DEVICE_PLUGIN), device_plugin),
        (Path::new(PCI_IDS), peers::pci_ids(cache)?),
    ] {
        let name = place.to_string_lossy();
        node.add_file(name.trim_start_matches('/'), &file)?;
    }
    Ok(())
}

/// containerd, runc, their libraries and configuration, and the image of the suites' pods.
fn add_containers(
    node: &mut Node,
    parts: &NodeParts,
    debian: &Path,
    programs: &go::Programs,
) -> Result<()> {
    for name in CONTAINERD {
        let program = programs.containerd.join(name);
        node.add_file(&format!("usr/bin/{name}"), &program)?;
    }
    let runc = first_of(debian, "usr/sbin/runc")?;
    add_with_libraries(node, debian, &runc, "usr/bin/runc")?;
    for plugin in PLUGINS {
        let program = first_of(&parts.guest, &format!("usr/lib/cni/{plugin}"))?;
        node.add_file(&format!("opt/cni/bin/{plugin}"), &program)?;
    }
    add_texts(node, FILES)?;
    let image = Image {
        name: "localhost/pod:1".to_owned(),
        builds: vec![(
            Architecture::Amd64,
            vec![(
                "bin/busybox".to_owned(),
                first_of(&parts.guest, "bin/busybox")?,
            )],
        )],
        entrypoint: ENTRYPOINT.map(str::to_owned).to_vec(),
        ..Image::default()
    };
    let tar = node.run_path("pod.tar");
    oci::write(&[image], &tar)?;
    node.add_file("lab/images/pod.tar", &tar)
}
