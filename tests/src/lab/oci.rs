//! Writes container images as OCI image layouts in a tar: one layer, no registry, the same bytes from the same files.
//!
//! Formats: the OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `config.md`) and ustar (POSIX.1-2017, `pax`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// An image to write.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name with its tag.
    pub name: String,
    /// Files: path in the image without a leading `/`, file of this machine. All are executable.
    pub files: Vec<(String, PathBuf)>,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
}

/// Writes the image.
///
/// # Errors
/// When a file of it cannot be read or the tar cannot be written.
pub fn write(image: &Image, to: &Path) -> Result<()> {
    let mut layer = Tar::default();
    let mut files = image.files.clone();
    files.sort();
    for (name, source) in &files {
        let text =
            std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        layer.file(name, &text)?;
    }
    let layer = layer.finish();
    let layer_digest = sha256(&layer)?;
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": image.entrypoint, "Env": ["PATH=/bin:/"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created_by": "virtfn" }],
    }))?;
    let descriptor = |kind: &str, digest: &str, bytes: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        })
    };
    let config_digest = sha256(&config)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config_digest, &config),
        "layers": [descriptor("layer.v1.tar", &layer_digest, &layer)],
    }))?;
    let manifest_digest = sha256(&manifest)?;
    let mut named = descriptor("manifest.v1+json", &manifest_digest, &manifest);
    if let Value::Object(fields) = &mut named {
        // containerd and podman take the name from one annotation each.
        fields.insert(
            "annotations".to_owned(),
            json!({ "io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name }),
        );
    }
    let index = json!({ "schemaVersion": 2, "manifests": [named] });
    let mut tar = Tar::default();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.file("index.json", &serde_json::to_vec(&index)?)?;
    for (digest, bytes) in [
        (&config_digest, &config),
        (&manifest_digest, &manifest),
        (&layer_digest, &layer),
    ] {
        tar.file(&format!("blobs/sha256/{digest}"), bytes)?;
    }
    std::fs::write(to, tar.finish()).with_context(|| format!("cannot write {}", to.display()))
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    let mut stdin = child.stdin.take().context("sha256sum has no input")?;
    stdin.write_all(bytes)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    match text.get(..64) {
        Some(digest) if output.status.success() => Ok(digest.to_owned()),
        _ => bail!("sha256sum failed"),
    }
}

/// A tar of executable files that belong to root and have no time.
#[derive(Debug, Default)]
struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    fn file(&mut self, name: &str, text: &[u8]) -> Result<()> {
        if name.len() > 100 {
            bail!("`{name}` is too long for a tar");
        }
        let mut header = Vec::with_capacity(512);
        let mut field = |text: &str, width: usize| {
            header.extend(text.bytes().chain(std::iter::repeat(0)).take(width));
        };
        field(name, 100);
        field("0000755", 8);
        field("0000000", 8);
        field("0000000", 8);
        field(&format!("{:011o}", text.len()), 12);
        field("00000000000", 12);
        // The sum is taken with its own field as spaces.
        field("        ", 8);
        field("0", 1);
        field("", 100);
        field("ustar", 6);
        field("00", 2);
        field("root", 32);
        field("root", 32);
        field("", 183);
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header.splice(148..156, format!("{sum:06o}\0 ").bytes());
        self.bytes.extend(header);
        self.bytes.extend(text);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_what_tar_reads_and_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, "text").unwrap();
        let image = Image {
            name: "localhost/x:1".into(),
            files: vec![("bin/x".into(), program)],
            entrypoint: vec!["/bin/x".into()],
        };
        let (first, second) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
        write(&image, &first).unwrap();
        write(&image, &second).unwrap();
        assert_eq!(
            std::fs::read(&first).unwrap(),
            std::fs::read(&second).unwrap()
        );
        let list = Command::new("tar").arg("-tf").arg(&first).output().unwrap();
        assert!(list.status.success());
        let names = String::from_utf8(list.stdout).unwrap();
        assert!(names.starts_with("oci-layout\nindex.json\nblobs/sha256/"));
        let unpacked = Command::new("tar")
            .args(["-xOf"])
            .arg(&first)
            .arg("index.json")
            .output()
            .unwrap();
        let index: Value = serde_json::from_slice(&unpacked.stdout).unwrap();
        let digest = index
            .pointer("/manifests/0/digest")
            .and_then(Value::as_str)
            .unwrap();
        assert!(names.contains(digest.trim_start_matches("sha256:")));
    }

    #[test]
    fn knows_its_digests() {
        assert_eq!(
            sha256(b"").unwrap(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
