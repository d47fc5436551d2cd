//! The manifests of `deploy/`: the rendered forms match the sources, have only documented privileges, and name existing flags, ports, images and directories.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::build::Dist;
use sriov_lab::checkout::{VERSION, workspace};
use sriov_lab::manifests::{BASE, CHART, GOLDEN, chart_digest, read};
use sriov_lab::ship::images;
use sriov_testkit::plugin;

fn kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents
        .iter()
        .filter(|document| document["kind"] == kind)
        .collect()
}

/// The pods' specification of the only `DaemonSet`.
fn pod(documents: &[Value]) -> &Value {
    let [daemon_set] = kind(documents, "DaemonSet")[..] else {
        panic!("not one DaemonSet")
    };
    &daemon_set["spec"]["template"]["spec"]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn containers(pod: &Value) -> Vec<&Value> {
    let (first, then) = (&pod["initContainers"], &pod["containers"]);
    list(first).iter().chain(list(then)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn help() -> String {
    let program = plugin::binary().unwrap();
    let output = Command::new(program).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rendered_base_matches_its_sources() {
    let kustomization = &read(&format!("{BASE}/kustomization.yaml")).unwrap()[0];
    let mut expected = Vec::new();
    for name in list(&kustomization["resources"]) {
        expected.extend(read(&format!("{BASE}/{}", text(name))).unwrap());
    }
    let [image] = list(&kustomization["images"]) else {
        panic!("not one image")
    };
    let image_name = format!("{}:{}", text(&image["name"]), text(&image["newTag"]));
    for document in &mut expected {
        document["metadata"]["namespace"] = kustomization["namespace"].clone();
        if document["kind"] == "DaemonSet" {
            for kind in ["initContainers", "containers"] {
                let containers = document["spec"]["template"]["spec"][kind].as_array_mut();
                for container in containers.unwrap() {
                    assert_eq!(container["image"], image["name"]);
                    container["image"] = json!(image_name);
                }
            }
        }
    }
    let mut rendered = GOLDEN[0].documents().unwrap();
    let by_kind = |document: &Value| document["kind"].to_string();
    expected.sort_by_key(by_kind);
    rendered.sort_by_key(by_kind);
    assert_eq!(rendered, expected, "cargo lab manifests --write");
}

#[test]
fn rendered_charts_have_the_digest_of_this_chart() {
    let digest = chart_digest().unwrap();
    for golden in GOLDEN.iter().filter(|golden| golden.is_chart) {
        let text = std::fs::read_to_string(golden.path()).unwrap();
        let is_of_it = text.starts_with(&format!("# of the chart {digest}\n"));
        assert!(is_of_it, "{}: cargo lab manifests --write", golden.name);
        for document in golden.documents().unwrap() {
            assert_eq!(document["metadata"]["namespace"], golden.namespace);
        }
    }
}

#[test]
fn chart_and_base_start_the_same_pod() {
    let [base, chart, _] = GOLDEN.map(|golden| golden.documents().unwrap());
    assert_eq!(pod(&chart), pod(&base));
    let config = |documents: &[Value]| -> Value {
        let map = kind(documents, "ConfigMap")[0];
        serde_json::from_str(text(&map["data"]["config.json"])).unwrap()
    };
    assert_eq!(config(&chart), config(&base));
    let strategy =
        |documents: &[Value]| kind(documents, "DaemonSet")[0]["spec"]["updateStrategy"].clone();
    assert_eq!(strategy(&chart), strategy(&base));
}

/// The privileges of docs/security.md, and no others.
#[test]
fn pods_have_documented_privileges_only() {
    for golden in GOLDEN {
        let documents = golden.documents().unwrap();
        let kinds: BTreeSet<&str> = documents.iter().map(|one| text(&one["kind"])).collect();
        let known = [
            "ConfigMap",
            "DaemonSet",
            "Service",
            "ServiceAccount",
            "ServiceMonitor",
        ];
        assert!(kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
        for account in kind(&documents, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false);
        }
        let strategy = &kind(&documents, "DaemonSet")[0]["spec"]["updateStrategy"];
        assert_eq!(strategy["rollingUpdate"]["maxSurge"], 0);
        let pod = pod(&documents);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["hostNetwork"], true);
        for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_eq!(pod[field], Value::Null, "{field}");
        }
        let context = json!({ "runAsUser": 0, "runAsGroup": 0, "seccompProfile": { "type": "RuntimeDefault" } });
        assert_eq!(pod["securityContext"], context);
        for container in containers(pod) {
            let mut context = container["securityContext"].clone();
            context.as_object_mut().unwrap().remove("seLinuxOptions");
            let expected = json!({
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(context, expected);
            assert!(container["resources"]["limits"]["memory"].is_string());
            assert_eq!(container["env"], Value::Null);
        }
    }
}

/// Directories of the host, whether they are writable, and their mount points in the container.
#[test]
fn only_directories_of_the_programs_are_mounted() {
    let [base, _, everything] = GOLDEN.map(|golden| golden.documents().unwrap());
    let mounts = |documents: &[Value]| -> BTreeSet<(String, bool, String)> {
        let pod = pod(documents);
        let volumes = list(&pod["volumes"]);
        let named = |name: &Value| {
            volumes
                .iter()
                .find(|volume| volume["name"] == *name)
                .unwrap()
        };
        let mut seen = BTreeSet::new();
        for mount in containers(pod)
            .iter()
            .flat_map(|one| list(&one["volumeMounts"]))
        {
            let volume = named(&mount["name"]);
            let source = volume["hostPath"]["path"].as_str().unwrap_or("ConfigMap");
            let is_written = mount["readOnly"] != true;
            seen.insert((
                source.to_owned(),
                is_written,
                text(&mount["mountPath"]).to_owned(),
            ));
        }
        assert_eq!(seen.len(), volumes.len(), "a volume without a mount");
        seen
    };
    let expected = |kubelet: &str, plugins: &str| {
        BTreeSet::from([
            ("ConfigMap".to_owned(), false, "/etc/pcidp".to_owned()),
            (
                format!("{kubelet}/device-plugins"),
                true,
                format!("{kubelet}/device-plugins"),
            ),
            (
                format!("{kubelet}/pod-resources"),
                false,
                format!("{kubelet}/pod-resources"),
            ),
            (
                "/var/run/k8s.cni.cncf.io/devinfo/dp".into(),
                true,
                "/var/run/k8s.cni.cncf.io/devinfo/dp".into(),
            ),
            (
                "/var/lib/cni/sriov".into(),
                false,
                "/var/lib/cni/sriov".into(),
            ),
            (plugins.to_owned(), true, "/host/opt/cni/bin".to_owned()),
        ])
    };
    assert_eq!(mounts(&base), expected("/var/lib/kubelet", "/opt/cni/bin"));
    let mut with_cdi = expected("/data/kubelet", "/usr/libexec/cni");
    with_cdi.insert(("/var/run/cdi".into(), true, "/var/run/cdi".into()));
    assert_eq!(mounts(&everything), with_cdi);
    // The mount points are the default directories of the programs.
    let help = help();
    for default in [
        "default /var/lib/kubelet)",
        "default /var/run/k8s.cni.cncf.io/devinfo/dp)",
        "default /var/lib/cni/sriov)",
        "default /var/run/cdi)",
    ] {
        assert!(help.contains(default), "{default}");
    }
}

#[test]
fn flags_images_and_probes_match_the_programs() {
    let nowhere = Dist {
        cni: "sriov".into(),
        device_plugin: "sriov-device-plugin".into(),
    };
    let images = images(&nowhere);
    let [ours, cni] = &images[..] else {
        panic!("not two images")
    };
    let help = help();
    for golden in GOLDEN {
        let documents = golden.documents().unwrap();
        for container in containers(pod(&documents)) {
            if golden.values.is_none() {
                assert_eq!(container["image"], ours.name.as_str());
            }
            if container["name"] == "install-cni" {
                // It replaces the entry point by that of the other image.
                assert_eq!(container["command"], json!(cni.entrypoint));
                assert_eq!(container["args"], json!(["--no-sleep"]));
                continue;
            }
            assert_eq!(container["command"], Value::Null);
            let mut listens = None;
            for word in list(&container["args"]) {
                let (flag, value) = text(word).split_once('=').unwrap_or((text(word), ""));
                assert!(help.contains(&format!("  {flag} ")), "{flag}");
                if flag == "--metrics-address" {
                    listens = value.rsplit_once(':');
                }
            }
            let (host, port) = listens.unwrap();
            for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
                let get = &container[probe]["httpGet"];
                assert_eq!(get["path"], path);
                assert_eq!(get["port"].to_string(), port);
                // The kubelet probes the node's address if no host is named.
                let asked = get["host"].as_str().unwrap_or("0.0.0.0");
                assert_eq!(asked, host);
            }
            let ports = list(&container["ports"]).iter();
            let ports: Vec<String> = ports.map(|one| one["containerPort"].to_string()).collect();
            assert_eq!(
                ports,
                Vec::from_iter((host == "0.0.0.0").then(|| port.to_owned()))
            );
        }
    }
}

/// Runs the plugin with the arguments and `--version`: it reports a wrong argument first.
#[test]
fn device_plugin_accepts_its_arguments() {
    for golden in GOLDEN {
        let documents = golden.documents().unwrap();
        let container = &pod(&documents)["containers"][0];
        let words = list(&container["args"]).iter().map(text);
        let output = Command::new(plugin::binary().unwrap())
            .args(words)
            .arg("--version")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", golden.name);
    }
}

#[test]
fn chart_and_images_have_one_version() {
    let chart = &read(&format!("{CHART}/Chart.yaml")).unwrap()[0];
    assert_eq!(chart["version"], VERSION);
    assert_eq!(chart["appVersion"], VERSION);
    let kustomization = &read(&format!("{BASE}/kustomization.yaml")).unwrap()[0];
    assert_eq!(kustomization["images"][0]["newTag"], VERSION);
}

/// Paths of all leaves and of empty objects.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                paths(value, &format!("{at}/{key}"), found);
            }
        }
        Some(_) | None => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn each_value_is_in_the_schema_and_tested() {
    let values = &read(&format!("{CHART}/values.yaml")).unwrap()[0];
    let tried = &read(&format!("{CHART}/ci/everything-values.yaml")).unwrap()[0];
    let file = workspace().join(CHART).join("values.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut known = BTreeSet::new();
    paths(values, "", &mut known);
    for path in &known {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let mut at = &schema;
        for part in &parts {
            // The path ends at a free-form object of the schema.
            if at["properties"] == Value::Null {
                break;
            }
            at = &at["properties"][part];
            assert!(at.is_object(), "{path} is not in the schema");
        }
        // The key of a label may contain a `/`.
        let is_free = parts.first().is_some_and(|first| *first == "nodeSelector");
        let default = values.pointer(path);
        let other = tried.pointer(path);
        let untried = ["/image/tag", "/cni/install", "/config/resourceList"];
        if !is_free && !untried.contains(&path.as_str()) {
            assert!(other.is_some() && other != default, "no test sets {path}");
        }
    }
    let mut all = BTreeSet::new();
    schema_paths(&schema, "", &mut all);
    for path in &all {
        assert!(
            path == "/global" || values.pointer(path).is_some(),
            "{path} is not a value"
        );
    }
}

/// Paths of all values of a schema.
fn schema_paths(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(at.to_owned());
        return;
    };
    for (key, inner) in properties {
        schema_paths(inner, &format!("{at}/{key}"), found);
    }
}
