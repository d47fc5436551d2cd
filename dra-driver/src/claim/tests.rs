//! Claims as API servers return them.

use serde_json::{Value, json};
use sriov_host::chain;

use super::*;

const UID: &str = "11111111-2222-3333-4444-555555555555";

fn meant() -> ClaimRef {
    ClaimRef {
        namespace: "trading".into(),
        name: "two-vfs".into(),
        uid: UID.into(),
    }
}

fn result(request: &str, device: &str) -> Value {
    json!({ "request": request, "driver": "sriov.virtfn.dev", "pool": "node-1", "device": device })
}

fn config(source: &str, requests: &[&str], mut keys: Value) -> Value {
    keys["apiVersion"] = json!("sriov.virtfn.dev/v1alpha1");
    keys["kind"] = json!("VfConfig");
    json!({ "source": source, "requests": requests, "opaque": { "driver": "sriov.virtfn.dev", "parameters": keys } })
}

fn object(results: &[Value], configs: &[Value]) -> Value {
    json!({
        "metadata": { "name": "two-vfs", "namespace": "trading", "uid": UID, "annotations": { POD_CLAIM_NAME: "vfs" } },
        "spec": {},
        "status": {
            "allocation": { "devices": { "results": results, "config": configs } },
            "reservedFor": [{ "resource": "pods", "name": "app-0", "uid": "pod-uid" }],
        },
    })
}

fn parse(object: Value) -> Result<AllocatedClaim, String> {
    let object: ResourceClaim = serde_json::from_value(object).unwrap();
    let (driver, node) = (
        "sriov.virtfn.dev".parse().unwrap(),
        "node-1".parse().unwrap(),
    );
    read(
        &object,
        &meant(),
        &driver,
        &node,
        Accepted::WithSriovnetwork,
    )
    .map_err(|error| chain(&error))
}

fn check_refused(change: impl FnOnce(&mut Value), expected: &str) {
    let mut object = object(
        &[result("vf", "0000-01-10-0"), result("vf", "0000-01-10-2")],
        &[],
    );
    change(&mut object);
    assert_eq!(parse(object).unwrap_err(), expected);
}

#[test]
fn devices_of_other_drivers_are_left_out() {
    let other =
        json!({ "request": "gpu", "driver": "gpu.example.com", "pool": "p", "device": "gpu-0" });
    let claim = parse(object(&[other, result("vf/first", "0000-01-10-0")], &[])).unwrap();
    let expected = AllocatedDevice {
        request: "vf".into(),
        device: "0000-01-10-0".into(),
        config: VfConfig::default(),
    };
    assert_eq!(claim.devices, [expected]);
    assert_eq!(
        (claim.pod.name.as_str(), claim.is_extended),
        ("app-0", false)
    );
    assert_eq!(claim.pod_claim_name.as_deref(), Some("vfs"));
}

#[test]
fn claim_overrides_class_for_its_requests() {
    let results = [
        result("a", "0000-01-10-0"),
        result("b/small", "0000-01-10-2"),
    ];
    let configs = [
        config("FromClaim", &["b"], json!({ "network": "storage" })),
        config(
            "FromClass",
            &[],
            json!({ "network": "default/trading", "env": { "X": "class" } }),
        ),
        config(
            "FromClaim",
            &["b/small"],
            json!({ "env": { "X": "claim" } }),
        ),
        config("FromClaim", &["b/large"], json!({ "ifName": "net9" })),
        json!({ "source": "FromClaim", "opaque": { "driver": "gpu.example.com", "parameters": { "any": 1 } } }),
    ];
    let claim = parse(object(&results, &configs)).unwrap();
    let shown = claim.devices.iter().map(|device| {
        let network = device.config.network.as_ref().map(ToString::to_string);
        (
            network.unwrap_or_default(),
            device.config.env["X"].clone(),
            device.config.if_name.is_some(),
        )
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(
        shown,
        [
            ("default/trading".into(), "class".into(), false),
            ("storage".into(), "claim".into(), false),
        ]
    );
}

#[test]
fn all_mistakes_in_all_parameters_are_reported() {
    let configs = [
        config("FromClass", &[], json!({ "network": "A" })),
        config("FromClaim", &[], json!({ "vlan": 1, "driver": "x" })),
    ];
    let text = parse(object(&[result("vf", "0000-01-10-0")], &configs)).unwrap_err();
    for part in [
        "config[0].opaque.parameters.network: `A`",
        "config[1].opaque.parameters.vlan: unknown key",
        "config[1].opaque.parameters.driver: `x`",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn claim_that_is_not_of_one_pod_on_this_node_is_refused() {
    check_refused(
        |object| object["metadata"]["uid"] = json!("other"),
        "the claim was deleted and created again, it has the UID `other` now",
    );
    check_refused(
        |object| object["status"]["allocation"] = Value::Null,
        "no device is allocated to the claim",
    );
    check_refused(
        |object| object["status"]["reservedFor"] = Value::Null,
        "the claim is not reserved for a pod",
    );
    let job = json!([{ "apiGroup": "batch", "resource": "jobs", "name": "j", "uid": "u" }]);
    check_refused(
        |object| object["status"]["reservedFor"] = job,
        "the claim is reserved for `jobs j`, which is not a pod",
    );
    let two = json!([{ "resource": "pods", "name": "a", "uid": "u" }, { "resource": "pods", "name": "b", "uid": "v" }]);
    check_refused(
        |object| object["status"]["reservedFor"] = two,
        "the claim is reserved for several pods (a, b), and a VF is attached to one pod: use a claim template, which makes a claim for each pod",
    );
    let result = |key: &'static str, value: Value| {
        move |object: &mut Value| {
            object["status"]["allocation"]["devices"]["results"][1][key] = value;
        }
    };
    check_refused(
        result("pool", json!("node-2")),
        "device `0000-01-10-2` is of the pool `node-2`, which is not this node's",
    );
    check_refused(
        result("adminAccess", json!(true)),
        "device `0000-01-10-2` is allocated with admin access, which this driver does not support",
    );
    check_refused(
        result("shareID", json!("s")),
        "a share of device `0000-01-10-2` is allocated, and this driver allocates whole devices",
    );
    check_refused(
        |object| object["status"]["allocation"]["devices"]["results"] = json!([]),
        "no device of this driver is allocated to the claim",
    );
    let named = config("FromClaim", &[], json!({ "ifName": "net7" }));
    check_refused(
        |object| object["status"]["allocation"]["devices"]["config"] = json!([named]),
        "two devices of the claim have the interface name `net7`: give each request a configuration of its own",
    );
}
