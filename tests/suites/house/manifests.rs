//! The manifests of `deploy/`: the rendered forms match the sources, have only documented privileges, and name existing flags, ports, images and directories.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::architecture::Architecture;
use sriov_lab::build::Dist;
use sriov_lab::checkout::VERSION;
use sriov_lab::manifests::{
    BASE, CHART, DEFAULT, EVERYTHING, GOLDEN, Golden, KUBESPRAY, KUSTOMIZE, chart_digest, kind,
    read,
};
use sriov_lab::ship::images;
use sriov_testkit::plugin;

/// The pods' specification of each `DaemonSet`.
fn pods(documents: &[Value]) -> Vec<&Value> {
    let all: Vec<&Value> = kind(documents, "DaemonSet")
        .iter()
        .map(|one| &one["spec"]["template"]["spec"])
        .collect();
    assert!(!all.is_empty(), "no DaemonSet");
    all
}

/// The pods' specification of the first `DaemonSet`.
fn pod(documents: &[Value]) -> &Value {
    pods(documents)[0]
}

fn golden(name: &str) -> Golden {
    *GOLDEN.iter().find(|one| one.name == name).unwrap()
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
    let mut rendered = KUSTOMIZE.documents().unwrap();
    let by_kind = |document: &Value| document["kind"].to_string();
    expected.sort_by_key(by_kind);
    rendered.sort_by_key(by_kind);
    assert_eq!(rendered, expected, "cargo lab manifests --write");
}

#[test]
fn rendered_charts_have_the_digest_of_this_chart() {
    let digest = chart_digest().unwrap();
    for golden in GOLDEN.iter().filter(|golden| golden.values.is_some()) {
        let text = std::fs::read_to_string(golden.path()).unwrap();
        let is_of_it = text.starts_with(&format!("# of the chart {digest}\n"));
        assert!(is_of_it, "{}: cargo lab manifests --write", golden.name);
        for document in golden.documents().unwrap() {
            let is_of_cluster = document["kind"] == "SecurityContextConstraints";
            let expected = (!is_of_cluster).then_some(golden.namespace);
            assert_eq!(document["metadata"]["namespace"].as_str(), expected);
        }
    }
}

#[test]
fn chart_and_base_start_the_same_pod() {
    let [base, mut chart] = [KUSTOMIZE, DEFAULT].map(|golden| golden.documents().unwrap());
    let strategy =
        |documents: &[Value]| kind(documents, "DaemonSet")[0]["spec"]["updateStrategy"].clone();
    assert_eq!(strategy(&chart), strategy(&base));
    let image = &containers(pod(&base))[0]["image"];
    for document in chart.iter_mut().filter(|one| one["kind"] == "DaemonSet") {
        for kind in ["initContainers", "containers"] {
            document["spec"]["template"]["spec"][kind][0]["image"] = image.clone();
        }
    }
    assert_eq!(pod(&chart), pod(&base));
}

/// Else `kubectl apply -k` would replace a configuration that is in use.
#[test]
fn base_has_no_configuration_of_its_own() {
    let base = KUSTOMIZE.documents().unwrap();
    assert_eq!(kind(&base, "ConfigMap"), Vec::<&Value>::new());
    let volume = &list(&pod(&base)["volumes"])[0];
    assert_eq!(volume["configMap"]["name"], "sriovdp-config");
}

/// Each node has exactly one of both pods.
#[test]
fn named_nodes_have_a_daemon_set_of_their_own() {
    let documents = golden("helm-by-node.yaml").documents().unwrap();
    let [others, named] = pods(&documents)[..] else {
        panic!("not two DaemonSets")
    };
    let terms = |pod: &Value| {
        let affinity = &pod["affinity"]["nodeAffinity"];
        list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"])
            .to_vec()
    };
    let own = json!([{ "key": "example.com/nic", "operator": "Exists" }]);
    let field = |operator: &str, node: &str| json!({ "key": "metadata.name", "operator": operator, "values": [node] });
    let nodes = ["node-a.example.com", "node-b.example.com"];
    let without = nodes.map(|node| field("NotIn", node));
    let expected = json!({ "matchExpressions": own, "matchFields": without });
    assert_eq!(terms(others), [expected]);
    let expected =
        nodes.map(|node| json!({ "matchExpressions": own, "matchFields": [field("In", node)] }));
    assert_eq!(terms(named), expected);
    let data = &kind(&documents, "ConfigMap")[0]["data"];
    assert!(nodes.iter().all(|node| data[node].is_string()));
    let file = |pod: &Value| pod["containers"][0]["args"][0].clone();
    assert_eq!(file(others), "--config-file=/etc/pcidp/config.json");
    assert_eq!(file(named), "--config-file=/etc/pcidp/$(NODE_NAME)");
    let selectors: BTreeSet<String> = kind(&documents, "DaemonSet")
        .iter()
        .map(|one| one["spec"]["selector"].to_string())
        .collect();
    assert_eq!(selectors.len(), 2, "{selectors:?}");
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
            "PodMonitor",
            "PrometheusRule",
            "SecurityContextConstraints",
            "Service",
            "ServiceAccount",
            "ServiceMonitor",
        ];
        assert!(kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
        for account in kind(&documents, "ServiceAccount") {
            assert_eq!(account["automountServiceAccountToken"], false);
        }
        for daemon_set in kind(&documents, "DaemonSet") {
            let surge = &daemon_set["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"];
            assert!(surge.is_null() || *surge == 0);
        }
        let added = if golden.name == KUBESPRAY.name {
            json!(["DAC_OVERRIDE"])
        } else {
            Value::Null
        };
        for pod in pods(&documents) {
            assert_argued(pod, &added);
        }
    }
}

/// Checks the privileges of a pod; `added` are the capabilities of its installer.
fn assert_argued(pod: &Value, added: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["hostNetwork"], true);
    for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
        assert_eq!(pod[field], Value::Null, "{field}");
    }
    let context =
        json!({ "runAsUser": 0, "runAsGroup": 0, "seccompProfile": { "type": "RuntimeDefault" } });
    assert_eq!(pod["securityContext"], context);
    for container in containers(pod) {
        let mut context = container["securityContext"].clone();
        context.as_object_mut().unwrap().remove("seLinuxOptions");
        if container["name"] == "install-cni" {
            let capabilities = context["capabilities"].as_object_mut().unwrap();
            assert_eq!(capabilities.remove("add").unwrap_or_default(), *added);
        }
        let expected = json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        assert_eq!(context, expected);
        assert!(container["resources"]["limits"]["memory"].is_string());
        for variable in list(&container["env"]) {
            assert!(["NODE_NAME", "EXAMPLE"].contains(&text(&variable["name"])));
        }
    }
}

/// The constraints of `OpenShift` admit the pod, and nothing that it does not need.
#[test]
fn security_context_constraints_are_those_of_the_pod() {
    let documents = golden("helm-openshift.yaml").documents().unwrap();
    let scc = kind(&documents, "SecurityContextConstraints")[0];
    for (field, is_allowed) in [
        ("allowHostDirVolumePlugin", true),
        ("allowHostNetwork", true),
        ("allowHostPorts", true),
        ("allowHostPID", false),
        ("allowHostIPC", false),
        ("allowPrivilegedContainer", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(scc[field], is_allowed, "{field}");
    }
    assert_eq!(scc["requiredDropCapabilities"], json!(["ALL"]));
    let account = text(&pod(&documents)["serviceAccountName"]);
    let user = format!("system:serviceaccount:network:{account}");
    assert_eq!(scc["users"], json!([user]));
    let volumes: BTreeSet<&str> = list(&pod(&documents)["volumes"])
        .iter()
        .flat_map(|volume| volume.as_object().unwrap().keys())
        .map(String::as_str)
        .filter(|key| *key != "name")
        .collect();
    assert_eq!(volumes, list(&scc["volumes"]).iter().map(text).collect());
    for container in containers(pod(&documents)) {
        assert_eq!(
            container["securityContext"]["seLinuxOptions"]["type"],
            "spc_t"
        );
    }
}

/// Directories of the host, whether they are writable, and their mount points in the containers of a pod.
fn mounts(documents: &[Value]) -> BTreeSet<(String, bool, String)> {
    let pod = pod(documents);
    let volumes = list(&pod["volumes"]);
    let mut seen = BTreeSet::new();
    let mut mounted = BTreeSet::new();
    let containers = containers(pod);
    for mount in containers.iter().flat_map(|one| list(&one["volumeMounts"])) {
        let mut named = volumes.iter();
        let volume = named
            .find(|volume| volume["name"] == mount["name"])
            .unwrap();
        mounted.insert(text(&mount["name"]));
        let source = volume["hostPath"]["path"].as_str().unwrap_or("ConfigMap");
        let is_written = mount["readOnly"] != true;
        let place = text(&mount["mountPath"]);
        seen.insert((source.to_owned(), is_written, place.to_owned()));
    }
    assert_eq!(mounted.len(), volumes.len(), "a volume without a mount");
    seen
}

#[test]
fn only_directories_of_the_programs_are_mounted() {
    let [base, everything] = [KUSTOMIZE, EVERYTHING].map(|golden| golden.documents().unwrap());
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
            // The installer opens it for root.
            (
                "/var/lib/cni/sriov".into(),
                true,
                "/var/lib/cni/sriov".into(),
            ),
            (plugins.to_owned(), true, "/host/opt/cni/bin".to_owned()),
        ])
    };
    assert_eq!(mounts(&base), expected("/var/lib/kubelet", "/opt/cni/bin"));
    let mut other = expected("/data/kubelet", "/usr/libexec/cni");
    let state = "/var/lib/cni/sriov".to_owned();
    for is_writable in [false, true] {
        assert!(other.remove(&(state.clone(), is_writable, state.clone())));
        other.insert(("/data/cni/sriov".into(), is_writable, state.clone()));
    }
    other.insert(("/etc/cdi".into(), true, "/var/run/cdi".into()));
    assert_eq!(mounts(&everything), other);
    let snap = "/var/snap/microk8s";
    for (name, kubelet, plugins) in [
        (
            "k0s",
            "/var/lib/k0s/kubelet".to_owned(),
            "/opt/cni/bin".to_owned(),
        ),
        (
            "k3s",
            "/var/lib/kubelet".to_owned(),
            "/var/lib/rancher/k3s/data/cni".to_owned(),
        ),
        (
            "microk8s",
            format!("{snap}/common/var/lib/kubelet"),
            format!("{snap}/current/opt/cni/bin"),
        ),
        (
            "openshift",
            "/var/lib/kubelet".to_owned(),
            "/var/lib/cni/bin".to_owned(),
        ),
    ] {
        let documents = golden(&format!("helm-{name}.yaml")).documents().unwrap();
        assert_eq!(mounts(&documents), expected(&kubelet, &plugins), "{name}");
    }
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
        architecture: Architecture::Amd64,
        cni: "sriov".into(),
        device_plugin: "sriov-device-plugin".into(),
        dra_driver: Some("sriov-dra-driver".into()),
    };
    let images = images(&[nowhere]);
    let [ours, cni] = &images[..] else {
        panic!("not two images")
    };
    let help = help();
    for golden in GOLDEN {
        let documents = golden.documents().unwrap();
        for container in pods(&documents).into_iter().flat_map(containers) {
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
            for (probe, path) in [
                ("startupProbe", "/healthz"),
                ("livenessProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ] {
                let get = &container[probe]["httpGet"];
                assert_eq!(get["path"], path);
                assert_eq!(get["port"].to_string(), port);
                // The kubelet probes the node's address when no host is named.
                let probed = get["host"].as_str().unwrap_or("0.0.0.0");
                assert_eq!(probed, host.replace("[::]", "0.0.0.0"));
            }
            let ports = list(&container["ports"]).iter();
            let ports: Vec<String> = ports.map(|one| one["containerPort"].to_string()).collect();
            assert_eq!(
                ports,
                Vec::from_iter((host != "127.0.0.1").then(|| port.to_owned()))
            );
        }
    }
}

/// Runs the plugin with the arguments and `--version`: it reports a wrong argument first.
#[test]
fn device_plugin_accepts_its_arguments() {
    for golden in GOLDEN {
        let documents = golden.documents().unwrap();
        for pod in pods(&documents) {
            let words = list(&pod["containers"][0]["args"]).iter().map(text);
            let output = Command::new(plugin::binary().unwrap())
                .args(words)
                .arg("--version")
                .output()
                .unwrap();
            let printed = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {printed}", golden.name);
        }
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
