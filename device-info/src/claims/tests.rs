//! The hand-over format: its golden file, and files that are not one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use expect_test::expect_file;
use proptest::prelude::*;

use super::*;

const UID: &str = "5b1f4a52-7c0e-4a3f-9a60-0d3c1b7d2f11";

fn device(claim: &str, request: &str, address: &str) -> ClaimDevice {
    ClaimDevice {
        claim: ClaimRef {
            namespace: "trading".into(),
            name: claim.into(),
            uid: format!("uid-of-{claim}"),
        },
        request: request.into(),
        pool: "node-1".into(),
        device: address.replace([':', '.'], "-"),
        pci_address: address.parse().unwrap(),
        resource: "example.com/trading".into(),
        network: None,
        ifname: None,
        rebound: None,
        metadata: None,
    }
}

fn claims() -> PodClaims {
    let wished = ClaimDevice {
        network: Some(NetworkRef {
            namespace: "trading".into(),
            name: "market-data".into(),
        }),
        ifname: Some("md0".parse().unwrap()),
        rebound: Some(Rebound {
            own: Some("iavf".into()),
            bound: "vfio-pci".into(),
        }),
        metadata: Some("/var/lib/kubelet/plugins/sriov.virtfn.dev/dra-device-metadata/trading_feed/vf/metadata.json".into()),
        ..device("feed", "vf", "0000:21:10.0")
    };
    PodClaims {
        driver: "sriov.virtfn.dev".into(),
        pod: PodRef {
            namespace: "trading".into(),
            name: "app-0".into(),
            uid: UID.parse().unwrap(),
        },
        devices: vec![wished, device("orders", "vf", "0000:21:10.2")],
    }
}

#[test]
fn file_is_the_golden_file_and_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = ClaimStore::below(dir.path());
    let claims = claims();
    store.write(&claims).unwrap();
    let path = store.path_of(&claims.pod.uid);
    assert!(path.ends_with(format!("claims/{UID}.json")));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    expect_file!["../../golden/pod-claims-v1.json"].assert_eq(&text);
    assert_eq!(store.read(&claims.pod.uid).unwrap(), Some(claims.clone()));
    let all: Vec<PodClaims> = store.read_all().unwrap().into_iter().flatten().collect();
    assert_eq!(all, std::slice::from_ref(&claims));
    store.remove(&claims.pod.uid).unwrap();
    store.remove(&claims.pod.uid).unwrap();
    assert_eq!(store.read(&claims.pod.uid).unwrap(), None);
    assert!(store.read_all().unwrap().is_empty());
}

#[test]
fn missing_directory_has_no_claims() {
    let dir = tempfile::tempdir().unwrap();
    let store = ClaimStore::below(&dir.path().join("missing"));
    assert!(store.read_all().unwrap().is_empty());
    store.remove(&UID.parse().unwrap()).unwrap();
}

#[test]
fn file_of_another_kind_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = ClaimStore::below(dir.path());
    let uid: PodUid = UID.parse().unwrap();
    store.write(&claims()).unwrap();
    let path = store.path_of(&uid);
    let text = fs::read_to_string(&path).unwrap();
    for (text, words) in [
        (text.replace("\"version\":1", "\"version\":2"), "version 2"),
        (text.replace(UID, "another"), "pod `another`"),
        (text[..80].to_owned(), "is not the hand-over"),
        (
            text.replace("0000:21:10.0", "0000:21"),
            "is not the hand-over",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let error = store.read(&uid).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(UID), "{error}");
        assert!(store.read_all().unwrap().pop().unwrap().is_err());
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let store = ClaimStore::below(dir.path());
    store.write(&claims()).unwrap();
    let path = store.path_of(&UID.parse().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("{\"version\"", "{\"new\":[],\"version\""),
    )
    .unwrap();
    let read = store.read(&UID.parse().unwrap()).unwrap();
    assert_eq!(read, Some(claims()));
}

#[test]
fn uid_is_a_file_name_and_never_a_path() {
    for text in [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "../x",
        "a b",
        "ä",
        &"a".repeat(129),
    ] {
        assert!(text.parse::<PodUid>().is_err(), "{text}");
    }
    for text in [UID, "0d5c7e1a2b3c4d5e6f708192a3b4c5d6", "static_pod.1"] {
        assert_eq!(text.parse::<PodUid>().unwrap().to_string(), text);
    }
}

proptest! {
    #[test]
    fn never_panics(text in ".{0,64}") {
        let dir = tempfile::tempdir().unwrap();
        let store = ClaimStore::below(dir.path());
        let uid: PodUid = UID.parse().unwrap();
        fs::create_dir_all(store.path()).unwrap();
        fs::write(store.path_of(&uid), &text).unwrap();
        prop_assert!(store.read(&uid).is_err());
    }
}
