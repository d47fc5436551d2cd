//! Attachments of a pod's claimed VFs without a device in the configuration, on a constructed tree and a kernel in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "a failed expectation of a test is a panic"
)]

#[path = "support/machine.rs"]
mod machine;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sriov_cni::{Failure, Verb};
use sriov_device_info::claims::{ClaimDevice, ClaimRef, ClaimStore, NetworkRef, PodClaims, PodRef};

use self::machine::{Machine, before};

const ARGS: &str = "IgnoreUnknown=true;K8S_POD_NAMESPACE=trading;K8S_POD_NAME=app-0;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=uid-of-app";
const VF: &str = "0000:01:10.0";

fn claimed(request: &str, device: &str, network: Option<&str>) -> ClaimDevice {
    ClaimDevice {
        claim: ClaimRef {
            namespace: "trading".into(),
            name: "app-0-feed-x7k2p".into(),
            uid: "uid-of-feed".into(),
        },
        request: request.into(),
        pool: "node-1".into(),
        device: device.replace([':', '.'], "-"),
        pci_address: device.parse().unwrap(),
        resource: "example.com/trading".into(),
        network: network.map(|name| NetworkRef {
            namespace: "trading".into(),
            name: name.into(),
        }),
        ifname: None,
        metadata: None,
        rebound: None,
    }
}

/// A machine with one VF, and the hand-over of a pod.
struct Pod(Machine);

impl Pod {
    fn new(devices: Vec<ClaimDevice>) -> Self {
        let pod = Self(Machine::new(1, before()));
        let claims = PodClaims {
            driver: "sriov.virtfn.dev".into(),
            pod: PodRef {
                namespace: "trading".into(),
                name: "app-0".into(),
                uid: "uid-of-app".parse().unwrap(),
            },
            devices,
        };
        pod.store().write(&claims).unwrap();
        pod
    }

    fn store(&self) -> ClaimStore {
        ClaimStore::below(&self.0.setup.state_dir)
    }

    fn file(&self) -> PathBuf {
        self.store().path_of(&"uid-of-app".parse().unwrap())
    }

    fn call(&self, verb: Verb, fields: &Value) -> Result<Option<Value>, Failure> {
        let mut conf =
            json!({ "cniVersion": "1.1.0", "name": "feed", "type": "sriov", "trust": "on" });
        conf.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.0.call_by("c", "net1", verb, &conf, ARGS)
    }

    fn saved(&self) -> Value {
        let path = self.0.setup.state_dir.join(format!("{VF}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

#[test]
fn claimed_vf_is_attached_checked_and_released_without_its_name() {
    let pod = Pod::new(vec![claimed("vf", VF, None)]);
    let result = pod.call(Verb::Add, &json!({})).unwrap().unwrap();
    assert_eq!(result["interfaces"][0]["pciID"], VF);
    let claim = &pod.saved()["claim"];
    assert_eq!(
        (&claim["uid"], &claim["name"], &claim["request"]),
        (
            &json!("uid-of-feed"),
            &json!("app-0-feed-x7k2p"),
            &json!("vf")
        )
    );
    pod.call(Verb::Check, &json!({ "prevResult": result }))
        .unwrap();
    let second = pod.call(Verb::Add, &json!({})).unwrap_err();
    assert_eq!(second.code(), 7);
    assert!(
        second.to_string().contains("is attached already"),
        "{second}"
    );
    // The claim may be unprepared before.
    fs::remove_file(pod.file()).unwrap();
    pod.call(Verb::Del, &json!({})).unwrap();
    assert_eq!(pod.0.settings(), before());
    let gone = pod
        .call(Verb::Check, &json!({ "prevResult": result }))
        .unwrap_err();
    assert_eq!(gone.code(), 7);
    let unnamed = pod.call(Verb::Add, &json!({})).unwrap_err();
    assert!(unnamed.to_string().starts_with("no device: "), "{unnamed}");
}

#[test]
fn request_may_be_named_by_the_network_or_by_the_pod() {
    let devices = || vec![claimed("a", "0000:01:10.2", None), claimed("b", VF, None)];
    for fields in [
        json!({ "request": "b" }),
        json!({ "claim": "feed", "request": "b" }),
        json!({ "request": "a", "args": { "cni": { "request": "b" } } }),
        json!({ "deviceID": VF, "request": "b" }),
    ] {
        let pod = Pod::new(devices());
        pod.call(Verb::Add, &fields).unwrap();
        assert_eq!(pod.saved()["claim"]["request"], "b", "{fields}");
        pod.call(Verb::Del, &fields).unwrap();
    }
    let pod = Pod::new(devices());
    for (fields, words) in [
        (json!({}), "several requests"),
        (
            json!({ "request": "c" }),
            "no device of the pod's claims is for request `c`",
        ),
        (
            json!({ "deviceID": VF, "request": "a" }),
            "the configuration names the device `0000:01:10.0`, the pod's claims have `0000:01:10.2`",
        ),
        (json!({ "request": 7 }), "request: "),
        (json!({ "claim": "a b" }), "claim: `a b` is not a name"),
    ] {
        let refused = pod.call(Verb::Add, &fields).unwrap_err();
        assert_eq!(refused.code(), 7, "{fields}");
        assert!(refused.to_string().contains(words), "{fields}: {refused}");
        assert!(pod.0.changes().is_empty());
    }
}

#[test]
fn device_for_another_network_is_not_taken() {
    let pod = Pod::new(vec![claimed("vf", VF, Some("orders"))]);
    let refused = pod.call(Verb::Add, &json!({})).unwrap_err();
    assert!(
        refused.to_string().contains("network `trading/orders`"),
        "{refused}"
    );
    pod.call(Verb::Add, &json!({ "name": "orders" })).unwrap();
}

#[test]
fn hand_over_that_cannot_be_read_is_refused_by_name() {
    for (text, words) in [
        ("{", "is not the hand-over of a pod's claims"),
        (r#"{"version":2}"#, "has version 2 of the format"),
    ] {
        let pod = Pod::new(Vec::new());
        fs::write(pod.file(), text).unwrap();
        for fields in [json!({}), json!({ "deviceID": VF })] {
            let refused = pod.call(Verb::Add, &fields).unwrap_err();
            assert_eq!(refused.code(), 102);
            let document = refused.document("{}").to_string();
            assert!(
                document.contains(words) && document.contains("uid-of-app.json"),
                "{document}"
            );
        }
        // DEL needs no hand-over.
        pod.call(Verb::Del, &json!({})).unwrap();
    }
}

#[test]
fn network_data_are_in_the_metadata_before_add_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.json");
    let mut device = claimed("vf", VF, None);
    device.metadata = Some(path.clone());
    let entry = json!({ "driver": "sriov.virtfn.dev", "pool": "node-1", "name": device.device });
    let file = json!({ "apiVersion": "metadata.resource.k8s.io/v1beta1", "metadata": { "generation": 1 },
        "requests": [{ "name": "vf", "devices": [entry] }] });
    let pod = Pod::new(vec![device]);
    // Without its metadata a program in the pod would not find its interface.
    let refused = pod.call(Verb::Add, &json!({})).unwrap_err();
    assert_eq!(refused.code(), 101);
    assert_eq!(pod.0.settings(), before());
    fs::write(&path, file.to_string()).unwrap();
    pod.call(Verb::Add, &json!({ "mac": "02:00:00:00:00:01" }))
        .unwrap();
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["metadata"]["generation"], 2);
    assert_eq!(
        written["requests"][0]["devices"][0]["networkData"],
        json!({ "interfaceName": "net1", "hardwareAddress": "02:00:00:00:00:01" })
    );
}
