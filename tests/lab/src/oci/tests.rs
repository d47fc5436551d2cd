//! Tests of the image layout.

use std::process::Command;

use super::*;

#[test]
fn image_is_readable_and_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    std::fs::write(&program, "text").unwrap();
    let image = |name: &str| Image {
        name: name.to_owned(),
        builds: vec![(Architecture::Amd64, vec![("bin/x".into(), program.clone())])],
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

#[test]
fn image_for_two_architectures_is_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let build = |architecture: Architecture| {
        let program = dir.path().join(architecture.name());
        std::fs::write(&program, architecture.name()).unwrap();
        (architecture, vec![("bin/x".to_owned(), program)])
    };
    let image = Image {
        name: "localhost/x:1".to_owned(),
        builds: Architecture::ALL.map(build).to_vec(),
        ..Image::default()
    };
    let (files, written) = layout(&[image]).unwrap();
    let json = |name: &str| -> Value {
        let (_, bytes) = files.iter().find(|(it, _)| it == name).unwrap();
        serde_json::from_slice(bytes).unwrap()
    };
    let (index, docker) = (json("index.json"), json("manifest.json"));
    let named = index.pointer("/manifests/0").unwrap();
    assert_eq!(named["digest"], written[0].digest.as_str());
    assert_eq!(
        named["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let both = json(&blob_path(named));
    for (number, architecture) in Architecture::ALL.into_iter().enumerate() {
        let manifest = both.pointer(&format!("/manifests/{number}")).unwrap();
        assert_eq!(manifest["platform"]["architecture"], architecture.name());
        let manifest = json(&blob_path(manifest));
        let config = json(&blob_path(&manifest["config"]));
        assert_eq!(config["architecture"], architecture.name());
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
    }
    // docker load does not support an index: it takes the architecture of the node.
    assert_eq!(docker.as_array().unwrap().len(), 1);
}
