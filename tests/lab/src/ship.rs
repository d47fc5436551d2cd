//! `cargo lab image`: the container images that ship, one for the device plugin and one for the CNI plugin's installer.
//!
//! Both images share one layer, which a node stores once. It contains the two static programs, without shell or library.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Dist};
use crate::checkout::{VERSION, target, workspace};
use crate::oci::{self, Image, Written};
use crate::progress;

/// The images of one build of the binaries.
pub fn images(dist: &Dist) -> Vec<Image> {
    let files = vec![
        ("usr/bin/sriov".to_owned(), dist.cni.clone()),
        (
            "usr/bin/sriov-device-plugin".to_owned(),
            dist.device_plugin.clone(),
        ),
    ];
    let image = |name: &str, description: &str, entrypoint: &[&str]| Image {
        // A runtime never pulls a name below `localhost` from a registry.
        name: format!("localhost/{name}:{VERSION}"),
        files: files.clone(),
        entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
        // Root owns the kubelet's sockets and the directory of the plugins; the manifests need no user then.
        user: "0:0".to_owned(),
        labels: labels(name, description),
    };
    vec![
        image(
            "sriov-device-plugin",
            "Kubernetes device plugin that advertises SR-IOV virtual functions",
            &["/usr/bin/sriov-device-plugin"],
        ),
        image(
            "sriov-cni",
            "installs the CNI plugin that attaches SR-IOV virtual functions to pods",
            &["/usr/bin/sriov", "install"],
        ),
    ]
}

fn labels(name: &str, description: &str) -> BTreeMap<String, String> {
    let label = |(key, value): (&str, &str)| {
        let key = format!("org.opencontainers.image.{key}");
        (key, value.to_owned())
    };
    [
        ("title", name),
        ("description", description),
        ("version", VERSION),
        ("licenses", env!("CARGO_PKG_LICENSE")),
    ]
    .map(label)
    .into()
}

/// Builds the images into `target/dist/images.tar` and prints their names; with `is_verified`, compares them with a second build.
///
/// # Errors
/// If an image cannot be built or written.
pub fn run(is_verified: bool) -> Result<bool> {
    let dist = build::dist()?;
    let tar = target().join("dist/images.tar");
    let written = oci::write(&images(&dist), &tar)?;
    for Written { name, digest } in &written {
        println!("{name}@{digest}");
    }
    println!("{}", tar.display());
    if !is_verified {
        return Ok(true);
    }
    let again = build_again()?;
    let is_same = again == written;
    for Written { name, digest } in &again {
        println!("{name}@{digest} (from a copy of the sources)");
    }
    println!("{}", if is_same { "equal" } else { "DIFFERENT" });
    Ok(is_same)
}

/// Builds the images from scratch in another directory.
fn build_again() -> Result<Vec<Written>> {
    let elsewhere = tempfile::Builder::new()
        .prefix("verify-")
        .tempdir_in(target())?;
    let checkout = elsewhere.path().join("another/checkout");
    copy_sources(&checkout)?;
    let dist = progress::step("building them again from a copy", || {
        let to = elsewhere.path().join("dist");
        build::dist_of(&checkout, &elsewhere.path().join("scratch"), &to)
    })?;
    oci::write(&images(&dist), &elsewhere.path().join("images.tar"))
}

/// Copies the files that git tracks or would add, with their content in the checkout.
fn copy_sources(to: &Path) -> Result<()> {
    let list = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(workspace())
        .output()
        .context("cannot start git")?;
    if !list.status.success() {
        bail!("{} is not a checkout of git", workspace().display());
    }
    for name in String::from_utf8(list.stdout)?.split_terminator('\0') {
        let (from, to) = (workspace().join(name), to.join(name));
        std::fs::create_dir_all(to.parent().context("a file without a directory")?)?;
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
