//! The format on disk: its golden file, and files that are not one.

use std::fs;

use expect_test::expect_file;

use super::*;

#[test]
fn state_is_the_golden_file_and_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = StateStore::below(dir.path());
    let claim = examples::claim();
    let uid = &claim.claim.uid;
    assert_eq!(store.read(uid).unwrap(), None);
    assert!(store.read_all().unwrap().is_empty());
    store.write(&claim).unwrap();
    let text = fs::read_to_string(dir.path().join(format!("claims/{uid}.json"))).unwrap();
    expect_file!["../../golden/claim-state-v1.json"].assert_eq(&text);
    assert_eq!(store.read(uid).unwrap().as_ref(), Some(&claim));
    assert_eq!(store.read_all().unwrap().len(), 1);
    store.remove(uid).unwrap();
    store.remove(uid).unwrap();
    assert_eq!(store.read(uid).unwrap(), None);
}

#[test]
fn state_without_later_fields_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = StateStore::below(dir.path());
    let mut claim = examples::claim();
    store.write(&claim).unwrap();
    let path = dir.path().join(format!("claims/{}.json", claim.claim.uid));
    let mut text: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (at, device) in claim.devices.iter_mut().enumerate() {
        let fields = text["devices"][at].as_object_mut().unwrap();
        fields.remove("vhost_net").unwrap();
        device.vhost_net = false;
    }
    fs::write(&path, text.to_string()).unwrap();
    assert_eq!(store.read(&claim.claim.uid).unwrap(), Some(claim));
}

#[test]
fn torn_later_and_foreign_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let store = StateStore::below(dir.path());
    let claim = examples::claim();
    let uid = &claim.claim.uid;
    store.write(&claim).unwrap();
    let path = dir.path().join(format!("claims/{uid}.json"));
    let text = fs::read_to_string(&path).unwrap();
    for (text, words) in [
        (text.replace("\"version\":1", "\"version\":2"), "version 2"),
        (text[..100].to_owned(), "is not the state of a claim"),
        ("{}".to_owned(), "is not the state of a claim"),
    ] {
        fs::write(&path, text).unwrap();
        let error = store.read(uid).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(uid), "{error}");
        assert!(store.read_all().unwrap().remove(0).is_err());
    }
    for uid in ["", "../x", "a/b"] {
        assert!(matches!(store.read(uid), Err(StateError::Uid(_))), "{uid}");
    }
}
