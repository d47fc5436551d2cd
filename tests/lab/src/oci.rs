//! Writes container images as an OCI image layout in a tar: one layer per image and architecture, the same bytes from the same files.
//!
//! Formats: the OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `config.md`) and ustar (POSIX.1-2017, `pax`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::architecture::Architecture;
use crate::digest::sha256;

/// Files of an image: path in the image without a leading `/`, file of this machine. All are executable.
pub type Files = Vec<(String, PathBuf)>;

/// An image to write.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Name with its tag.
    pub name: String,
    /// The files for each architecture; an image for several is an image index with one manifest for each.
    pub builds: Vec<(Architecture, Files)>,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// User and group by number; the runtime's default when empty.
    pub user: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A file of a layout: its name and its bytes.
type LayoutFile = (String, Vec<u8>);

/// Name and digest of a written image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Name with its tag.
    pub name: String,
    /// Digest of its manifest, or of its index if it has several architectures: `sha256:..`.
    pub digest: String,
}

/// An image layout: everything that the files of `image-layout.md` contain.
#[derive(Debug, Default)]
struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
    /// What `docker load` reads instead of the index: the first architecture of each image.
    docker: Vec<Value>,
}

/// Writes images as an image layout into one tar, which `docker load` reads too; blobs that images share are stored once.
///
/// # Errors
/// If a file of an image cannot be read, or the tar cannot be written.
pub fn write(images: &[Image], to: &Path) -> Result<Vec<Written>> {
    let (files, written) = layout(images)?;
    let mut tar = Tar::new();
    for (name, bytes) in &files {
        tar.file(name, bytes)?;
    }
    std::fs::write(to, tar.finish()?).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(written)
}

/// The files of the layout in their order, and what was written.
fn layout(images: &[Image]) -> Result<(Vec<LayoutFile>, Vec<Written>)> {
    let mut layout = Layout::default();
    let mut written = Vec::new();
    for image in images {
        let digest = layout.add(image)?;
        written.push(Written {
            name: image.name.clone(),
            digest,
        });
    }
    let index = json!({ "schemaVersion": 2, "manifests": layout.manifests });
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), serde_json::to_vec(&index)?),
        (
            "manifest.json".to_owned(),
            serde_json::to_vec(&layout.docker)?,
        ),
    ];
    let blob = |(digest, bytes)| (format!("blobs/sha256/{digest}"), bytes);
    files.extend(layout.blobs.into_iter().map(blob));
    Ok((files, written))
}

impl Layout {
    /// Adds an image, and gives the digest by which it is named.
    fn add(&mut self, image: &Image) -> Result<String> {
        let mut manifests = Vec::new();
        for (architecture, files) in &image.builds {
            manifests.push(self.add_build(image, *architecture, files)?);
        }
        let mut named = match manifests.as_slice() {
            [only] => only.clone(),
            several => {
                let kind = "application/vnd.oci.image.index.v1+json";
                let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": several });
                self.add_blob("index.v1+json", serde_json::to_vec(&index)?)
            }
        };
        let digest = named.get("digest").and_then(Value::as_str);
        let digest = digest.context("a descriptor without a digest")?.to_owned();
        if let Value::Object(fields) = &mut named {
            // containerd and podman take the name from one annotation each.
            fields.insert(
                "annotations".to_owned(),
                json!({ "io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name }),
            );
        }
        self.manifests.push(named);
        Ok(digest)
    }

    /// Adds the image for one architecture, and gives the descriptor of its manifest.
    fn add_build(
        &mut self,
        image: &Image,
        architecture: Architecture,
        files: &Files,
    ) -> Result<Value> {
        let layer = self.add_blob("layer.v1.tar", layer(files)?);
        let layer_digest = layer.get("digest").cloned().unwrap_or_default();
        let config = config(image, architecture, &layer_digest);
        let config = self.add_blob("config.v1+json", serde_json::to_vec(&config)?);
        let is_first = image.builds.first().map(|(first, _)| *first) == Some(architecture);
        if is_first {
            self.docker.push(json!({
                "Config": blob_path(&config),
                "RepoTags": [image.name],
                "Layers": [blob_path(&layer)],
            }));
        }
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        }))?;
        let mut manifest = self.add_blob("manifest.v1+json", manifest);
        if let Value::Object(fields) = &mut manifest {
            fields.insert(
                "platform".to_owned(),
                json!({ "architecture": architecture.name(), "os": "linux" }),
            );
        }
        Ok(manifest)
    }

    /// Stores bytes, and gives their descriptor.
    fn add_blob(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let descriptor = json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        });
        self.blobs.insert(digest, bytes);
        descriptor
    }
}

/// The file of the blob that a descriptor names.
fn blob_path(descriptor: &Value) -> String {
    let digest = descriptor.get("digest").and_then(Value::as_str);
    let digest = digest.unwrap_or_default().trim_start_matches("sha256:");
    format!("blobs/sha256/{digest}")
}

fn layer(files: &Files) -> Result<Vec<u8>> {
    let mut layer = Tar::new();
    let mut files = files.clone();
    files.sort();
    for (name, source) in &files {
        let text =
            std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        layer.file(name, &text)?;
    }
    layer.finish()
}

fn config(image: &Image, architecture: Architecture, layer_digest: &Value) -> Value {
    json!({
        "architecture": architecture.name(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/bin:/bin:/"],
            "User": image.user,
            "Labels": image.labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created_by": "virtfn" }],
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
mod tests;
