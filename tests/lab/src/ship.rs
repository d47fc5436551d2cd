//! `cargo lab dist` and `cargo lab image`: the programs and the container images that ship, for each architecture.
//!
//! There is one image for the device plugin and one for the CNI plugin's installer.
//! Both share one layer per architecture, which a node stores once. It contains the static programs, without shell or library.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::architecture::Architecture;
use crate::build::{self, Dist};
use crate::checkout::{VERSION, copy_sources, target};
use crate::oci::{self, Files, Image, Written};
use crate::progress;

/// The images of the binaries of some architectures.
pub fn images(all: &[Dist]) -> Vec<Image> {
    let builds: Vec<_> = all
        .iter()
        .map(|dist| (dist.architecture, files(dist)))
        .collect();
    let image = |name: &str, description: &str, entrypoint: &[&str]| Image {
        // A runtime never pulls a name below `localhost` from a registry.
        name: format!("localhost/{name}:{VERSION}"),
        builds: builds.clone(),
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

/// The files of an image.
fn files(dist: &Dist) -> Files {
    let mut files = vec![
        ("usr/bin/sriov".to_owned(), dist.cni.clone()),
        (
            "usr/bin/sriov-device-plugin".to_owned(),
            dist.device_plugin.clone(),
        ),
    ];
    let driver = dist.dra_driver.iter();
    files.extend(driver.map(|path| ("usr/bin/sriov-dra-driver".to_owned(), path.clone())));
    files
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

/// Builds the binaries for the architectures that the words name, or for the node's, and prints their paths.
///
/// # Errors
/// If the words name no architecture, or a build fails.
pub fn dist(words: &[&str]) -> Result<bool> {
    for architecture in architectures(words, &[Architecture::Amd64])? {
        for file in build::whole_dist(architecture)?.programs() {
            println!("{}", file.display());
        }
    }
    Ok(true)
}

/// Builds the images into `target/dist/images.tar` and prints their names; with `--verify`, compares them with a second build.
///
/// # Errors
/// If an image cannot be built or written.
pub fn run(words: &[&str]) -> Result<bool> {
    let is_verified = words.contains(&"--verify");
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|it| *it != "--verify")
        .collect();
    let architectures = architectures(&words, &Architecture::ALL)?;
    let built: Vec<Dist> = architectures
        .iter()
        .copied()
        .map(build::whole_dist)
        .collect::<Result<_>>()?;
    let tar = target().join("dist/images.tar");
    let written = oci::write(&images(&built), &tar)?;
    for Written { name, digest } in &written {
        println!("{name}@{digest}");
    }
    println!("{}", tar.display());
    if !is_verified {
        return Ok(true);
    }
    let again = build_again(&architectures)?;
    let is_same = again == written;
    for Written { name, digest } in &again {
        println!("{name}@{digest} (from a copy of the sources)");
    }
    println!("{}", if is_same { "equal" } else { "DIFFERENT" });
    Ok(is_same)
}

/// The architectures that `--target` names; `otherwise` without it.
fn architectures(words: &[&str], otherwise: &[Architecture]) -> Result<Vec<Architecture>> {
    match words {
        [] => Ok(otherwise.to_vec()),
        ["--target", "all"] => Ok(Architecture::ALL.to_vec()),
        ["--target", word] => Architecture::of(word)
            .map(|one| vec![one])
            .with_context(|| {
                format!("`{word}` is not an architecture: --target takes amd64, arm64 or all")
            }),
        other => bail!(
            "unknown words `{}`: `cargo lab help` lists the options",
            other.join(" ")
        ),
    }
}

/// Builds the images from scratch in another directory.
fn build_again(architectures: &[Architecture]) -> Result<Vec<Written>> {
    let elsewhere = tempfile::Builder::new()
        .prefix("verify-")
        .tempdir_in(target())?;
    let checkout = elsewhere.path().join("another/checkout");
    copy_sources(&checkout)?;
    let dist = |architecture: Architecture| {
        let to = elsewhere.path().join("dist").join(architecture.name());
        let scratch = elsewhere.path().join("scratch");
        let dist = build::dist_of(architecture, &checkout, &scratch, &to)?;
        dist.with_driver(&checkout, &scratch)
    };
    let built = progress::step("building them again from a copy", || {
        let all = architectures.iter().copied();
        all.map(dist).collect::<Result<Vec<Dist>>>()
    })?;
    oci::write(&images(&built), &elsewhere.path().join("images.tar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_names_architectures() {
        let otherwise = [Architecture::Amd64];
        let of = |words: &[&str]| architectures(words, &otherwise);
        assert_eq!(of(&[]).unwrap(), otherwise);
        assert_eq!(of(&["--target", "arm64"]).unwrap(), [Architecture::Arm64]);
        assert_eq!(of(&["--target", "all"]).unwrap(), Architecture::ALL);
        let error = of(&["--target", "mips"]).unwrap_err().to_string();
        assert!(error.contains("`mips`"), "{error}");
        assert!(of(&["--tarket", "arm64"]).is_err());
    }
}
