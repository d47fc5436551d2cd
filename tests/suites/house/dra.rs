//! The manifests of the DRA driver: the rendered forms match the sources, the rights are the documented ones, and the flags exist.

use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::manifests::{DRA_COMPONENT, Golden, HELM_DRA, KUSTOMIZE_DRA, kind, read};
use sriov_testkit::driver;

const NAME: &str = "sriov-dra-driver";
const DRIVER: &str = "sriov.virtfn.dev";

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The document of a kind that is the driver's, not the device plugin's.
fn one(golden: Golden, of: &str) -> Value {
    let documents = golden.documents().unwrap();
    let found = kind(&documents, of).into_iter();
    let is_own = |one: &&Value| one["metadata"]["labels"]["app.kubernetes.io/name"] == NAME;
    let [found] = found.filter(is_own).collect::<Vec<_>>()[..] else {
        panic!("{}: not one {of}", golden.name)
    };
    found.clone()
}

#[test]
fn rendered_component_matches_its_sources() {
    let kustomization = &read(&format!("{DRA_COMPONENT}/kustomization.yaml")).unwrap()[0];
    let mut expected = Vec::new();
    for name in list(&kustomization["resources"]) {
        expected.extend(read(&format!("{DRA_COMPONENT}/{}", text(name))).unwrap());
    }
    let image = &kustomization["images"][0];
    let image = format!("{}:{}", text(&image["name"]), text(&image["newTag"]));
    for document in &mut expected {
        // kustomize takes the policy and its binding for objects of a namespace; the API server ignores it there.
        if !["ClusterRole", "ClusterRoleBinding"].contains(&text(&document["kind"])) {
            document["metadata"]["namespace"] = kustomization["namespace"].clone();
        }
        if document["kind"] == "DaemonSet" {
            document["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        }
    }
    let mut rendered = KUSTOMIZE_DRA.documents().unwrap();
    let by_kind = |document: &Value| document["kind"].to_string();
    expected.sort_by_key(by_kind);
    rendered.sort_by_key(by_kind);
    assert_eq!(rendered, expected, "cargo lab manifests --write");
}

/// The rendered forms, with the name of the driver in each.
const FORMS: [(Golden, &str); 2] = [(KUSTOMIZE_DRA, DRIVER), (HELM_DRA, "sriov.example.com")];

/// The rights of docs/security.md, and no others.
#[test]
fn account_of_the_driver_has_documented_rights_only() {
    for (golden, driver) in FORMS {
        let rules = json!([
            { "apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["get", "list", "watch", "create", "update", "delete"] },
            { "apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims"], "verbs": ["get"] },
            { "apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/status"], "verbs": ["patch"] },
            { "apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/driver"], "resourceNames": [driver], "verbs": ["associated-node:patch"] },
            { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
        ]);
        assert_eq!(one(golden, "ClusterRole")["rules"], rules);
        let account = one(golden, "ServiceAccount")["metadata"]["name"].clone();
        let subject =
            json!([{ "kind": "ServiceAccount", "name": account, "namespace": golden.namespace }]);
        assert_eq!(one(golden, "ClusterRoleBinding")["subjects"], subject);
    }
}

/// The policy is for the account of the pod, denies, and is bound.
#[test]
fn policy_restricts_the_account_to_its_node() {
    for (golden, driver) in FORMS {
        let policy = one(golden, "ValidatingAdmissionPolicy");
        let spec = &policy["spec"];
        let account = one(golden, "ServiceAccount");
        let user = format!(
            "system:serviceaccount:{}:{}",
            golden.namespace,
            text(&account["metadata"]["name"])
        );
        let condition = text(&spec["matchConditions"][0]["expression"]);
        assert_eq!(
            condition,
            format!("request.userInfo.username == \"{user}\"")
        );
        let own = text(&spec["validations"][2]["expression"]);
        assert_eq!(own, format!("variables.sliceDriver == \"{driver}\""));
        assert_eq!(spec["failurePolicy"], "Fail");
        let operations = &spec["matchConstraints"]["resourceRules"][0]["operations"];
        assert_eq!(*operations, json!(["CREATE", "UPDATE", "DELETE"]));
        let binding = one(golden, "ValidatingAdmissionPolicyBinding");
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    }
}

#[test]
fn pod_of_the_driver_has_documented_privileges_only() {
    for (golden, _) in FORMS {
        let daemon_set = one(golden, "DaemonSet");
        let pod = &daemon_set["spec"]["template"]["spec"];
        let account = one(golden, "ServiceAccount");
        assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
        for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_eq!(pod[field], Value::Null, "{field}");
        }
        let [container] = list(&pod["containers"]) else {
            panic!("not one container")
        };
        let context = json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "BPF", "PERFMON"] },
            "appArmorProfile": { "type": "Unconfined" },
        });
        assert_eq!(container["securityContext"], context);
        assert_eq!(container["command"], json!(["/usr/bin/sriov-dra-driver"]));
        let volumes = list(&pod["volumes"]);
        assert_eq!(volumes.len(), list(&container["volumeMounts"]).len());
        let is_read_only = |mount: &&Value| mount["readOnly"] == true;
        let read_only = list(&container["volumeMounts"]).iter().filter(is_read_only);
        let read_only: Vec<_> = read_only.map(|mount| text(&mount["name"])).collect();
        assert_eq!(read_only, ["config", "pod-resources", "cni-plugins"]);
        for variable in ["NODE_NAME", "POD_UID"] {
            let mut env = list(&container["env"]).iter();
            assert!(env.any(|one| one["name"] == variable), "{variable}");
        }
    }
}

/// The chart mounts what the component mounts.
#[test]
fn chart_and_component_mount_the_same_directories() {
    let mounts = FORMS.map(|(golden, _)| {
        let daemon_set = one(golden, "DaemonSet");
        let pod = &daemon_set["spec"]["template"]["spec"];
        (
            pod["volumes"].clone(),
            pod["containers"][0]["volumeMounts"].clone(),
        )
    });
    assert_eq!(mounts[0], mounts[1]);
}

/// Runs the driver with the arguments and `--version`: it reports a wrong argument first.
#[test]
fn dra_driver_accepts_its_arguments() {
    for (golden, _) in FORMS {
        let daemon_set = one(golden, "DaemonSet");
        let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
        let words = list(&container["args"]).iter().map(text);
        let mut command = Command::new(driver::binary().unwrap());
        let output = command.args(words).arg("--version").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {printed}", golden.name);
    }
}

/// Only the resource with `publish: dra` has a class.
#[test]
fn chart_has_a_device_class_for_each_resource_of_the_driver() {
    let class = one(HELM_DRA, "DeviceClass");
    assert_eq!(class["metadata"]["name"], "trading-vfs");
    assert_eq!(
        class["spec"]["extendedResourceName"],
        "example.com/trading_vfs"
    );
    let expression = text(&class["spec"]["selectors"][0]["cel"]["expression"]);
    for word in ["\"sriov.example.com\"", "\"example.com/trading_vfs\""] {
        assert!(expression.contains(word), "{expression}");
    }
}

/// The example names the driver and the resource of the example's ConfigMap.
#[test]
fn device_class_selects_by_driver_and_resource() {
    let class = &read(&format!("{DRA_COMPONENT}/deviceclass.yaml")).unwrap()[0];
    let expression = text(&class["spec"]["selectors"][0]["cel"]["expression"]);
    let resource = text(&class["spec"]["extendedResourceName"]);
    assert!(
        expression.contains(&format!("\"{DRIVER}\"")),
        "{expression}"
    );
    assert!(
        expression.contains(&format!("resourceName == \"{resource}\"")),
        "{expression}"
    );
}
