//! Writes container images as an OCI image layout in a tar: one layer per image, the same bytes from the same files.
//!
//! Formats: the OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `config.md`) and ustar (POSIX.1-2017, `pax`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::digest::sha256;

/// An image to write.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Name with its tag.
    pub name: String,
    /// Files: path in the image without a leading `/`, file of this machine. All are executable.
    pub files: Vec<(String, PathBuf)>,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// User and group by number; the runtime's default when empty.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Name and digest of a written image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Name with its tag.
    pub name: String,
    /// Digest of its manifest, `sha256:..`.
    pub digest: String,
}

/// Writes images into one tar, which `docker load` reads too; blobs that images share are stored once.
///
/// # Errors
/// If a file of an image cannot be read, or the tar cannot be written.
pub fn write(images: &[Image], to: &Path) -> Result<Vec<Written>> {
    let mut blobs = BTreeMap::new();
    let (mut manifests, mut docker, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for image in images {
        let layer = layer(image)?;
        let layer_digest = sha256(&layer);
        let config = serde_json::to_vec(&config(image, &layer_digest))?;
        let config_digest = sha256(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &config_digest, &config),
            "layers": [descriptor("layer.v1.tar", &layer_digest, &layer)],
        }))?;
        let digest = sha256(&manifest);
        let mut named = descriptor("manifest.v1+json", &digest, &manifest);
        if let Value::Object(fields) = &mut named {
            // containerd and podman take the name from one annotation each.
            fields.insert(
                "annotations".to_owned(),
                json!({ "io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name }),
            );
        }
        manifests.push(named);
        docker.push(json!({
            "Config": format!("blobs/sha256/{config_digest}"),
            "RepoTags": [image.name],
            "Layers": [format!("blobs/sha256/{layer_digest}")],
        }));
        written.push(Written {
            name: image.name.clone(),
            digest: format!("sha256:{digest}"),
        });
        blobs.extend([
            (config_digest, config),
            (digest, manifest),
            (layer_digest, layer),
        ]);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    let mut tar = Tar::new();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.file("index.json", &serde_json::to_vec(&index)?)?;
    tar.file("manifest.json", &serde_json::to_vec(&docker)?)?;
    for (digest, bytes) in &blobs {
        tar.file(&format!("blobs/sha256/{digest}"), bytes)?;
    }
    std::fs::write(to, tar.finish()?).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(written)
}

fn layer(image: &Image) -> Result<Vec<u8>> {
    let mut layer = Tar::new();
    let mut files = image.files.clone();
    files.sort();
    for (name, source) in &files {
        let text =
            std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        layer.file(name, &text)?;
    }
    layer.finish()
}

fn config(image: &Image, layer_digest: &str) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/bin:/bin:/"],
            "User": image.user,
            "Labels": image.labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created_by": "virtfn" }],
    })
}

fn descriptor(kind: &str, digest: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": bytes.len(),
    })
}

/// A tar of executable files; their owner is root and their time is 0.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn file(&mut self, name: &str, text: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(text.len())?);
        let appended = self.0.append_data(&mut header, name, text);
        appended.with_context(|| format!("cannot put `{name}` into the image"))
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn image_is_readable_and_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "text").unwrap();
        let image = |name: &str| Image {
            name: name.to_owned(),
            files: vec![("bin/x".into(), program.clone())],
            entrypoint: vec!["/bin/x".into()],
            user: "0:0".into(),
            labels: BTreeMap::from([("a".into(), "b".into())]),
        };
        let images = [image("localhost/x:1"), image("localhost/y:1")];
        let (first, second) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
        let written = write(&images, &first).unwrap();
        assert_eq!(write(&images, &second).unwrap(), written);
        assert_eq!(
            std::fs::read(&first).unwrap(),
            std::fs::read(&second).unwrap()
        );
        let list = Command::new("tar").arg("-tf").arg(&first).output().unwrap();
        assert!(list.status.success());
        let names = String::from_utf8(list.stdout).unwrap();
        assert!(
            names.starts_with("oci-layout\nindex.json\nmanifest.json\nblobs/sha256/"),
            "{names}"
        );
        // Images that differ only in their names share all blobs.
        assert_eq!(names.lines().count(), 3 + 3);
        let json = |name: &str| -> Value {
            let unpacked = Command::new("tar")
                .args(["-xOf"])
                .arg(&first)
                .arg(name)
                .output();
            serde_json::from_slice(&unpacked.unwrap().stdout).unwrap()
        };
        let (index, docker) = (json("index.json"), json("manifest.json"));
        for (number, Written { name, digest }) in written.iter().enumerate() {
            let at = |pointer: &str| index.pointer(&format!("/manifests/{number}/{pointer}"));
            assert_eq!(at("digest").unwrap(), digest.as_str());
            assert_eq!(
                at("annotations/io.containerd.image.name").unwrap(),
                name.as_str()
            );
            let at = |pointer: &str| docker.pointer(&format!("/{number}/{pointer}")).unwrap();
            assert_eq!(at("RepoTags/0"), name.as_str());
            let config = json(at("Config").as_str().unwrap());
            assert_eq!(config.pointer("/config/User").unwrap(), "0:0");
            assert_eq!(config.pointer("/config/Labels/a").unwrap(), "b");
            assert!(names.contains(at("Layers/0").as_str().unwrap()));
        }
    }
}
