//! The examples of `deploy/examples`: our parsers accept them, and they fit together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sriov_config::{NetConf, ResourceList};
use sriov_lab::checkout::workspace;
use sriov_lab::manifests::{CHART, files, read};

const EXAMPLES: &str = "deploy/examples";

/// All documents of the examples, each with the name of its file.
fn examples() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for path in files(EXAMPLES).unwrap() {
        let name = path
            .strip_prefix(workspace())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let documents = read(&name).unwrap();
        assert!(!documents.is_empty(), "{name}");
        all.extend(
            documents
                .into_iter()
                .map(|document| (name.clone(), document)),
        );
    }
    all
}

fn of_kind(kind: &str) -> Vec<(String, Value)> {
    let mut all = examples();
    all.retain(|(_, document)| document["kind"] == kind);
    all
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap()
}

fn annotation<'a>(metadata: &'a Value, key: &str) -> Option<&'a str> {
    metadata["annotations"][key].as_str()
}

fn resource_of(network: &Value) -> Option<&str> {
    annotation(&network["metadata"], "k8s.v1.cni.cncf.io/resourceName")
}

/// The resources of a ConfigMap, which must have no mistake and no warning.
fn resources(config_map: &Value) -> BTreeSet<String> {
    let text = config_map["data"]["config.json"].as_str().unwrap();
    let list = ResourceList::parse(text, "intel.com").unwrap();
    assert!(list.unusable.is_empty(), "{:?}", list.unusable);
    assert!(list.warnings.is_empty(), "{:?}", list.warnings);
    assert!(!list.resources.is_empty());
    list.resources
        .iter()
        .map(|resource| resource.name.to_string())
        .collect()
}

#[test]
fn each_example_is_of_a_tested_kind() {
    let known = [
        "ConfigMap",
        "NetworkAttachmentDefinition",
        "Pod",
        "Deployment",
    ];
    for (file, document) in examples() {
        let kind = document["kind"].as_str().unwrap();
        assert!(known.contains(&kind), "{file}: {kind}");
    }
}

#[test]
fn networks_are_accepted_by_our_plugin() {
    let mut seen = 0;
    for (file, network) in of_kind("NetworkAttachmentDefinition") {
        let text = network["spec"]["config"].as_str().unwrap();
        let config: Value = serde_json::from_str(text).unwrap();
        assert_eq!(config["name"], name(&network), "{file}");
        let plugins = config["plugins"].as_array().cloned();
        let mut ours = 0;
        for mut plugin in plugins.unwrap_or_else(|| vec![config.clone()]) {
            if plugin["type"] != "sriov" {
                continue;
            }
            // As a runtime completes it: Multus adds the device, the list adds name and version.
            plugin["name"] = config["name"].clone();
            plugin["cniVersion"] = config["cniVersion"].clone();
            plugin["deviceID"] = "0000:01:10.0".into();
            NetConf::parse(&plugin.to_string(), None)
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            ours += 1;
        }
        assert_eq!(ours, usize::from(resource_of(&network).is_some()), "{file}");
        seen += ours;
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn resource_lists_offer_the_resources_of_the_networks() {
    let mut offered = BTreeSet::new();
    for (file, config_map) in of_kind("ConfigMap") {
        let resources = resources(&config_map);
        if file.ends_with("configmap-all.yaml") {
            offered = resources;
        }
    }
    for (file, network) in of_kind("NetworkAttachmentDefinition") {
        if let Some(resource) = resource_of(&network) {
            assert!(offered.contains(resource), "{file}: {resource}");
        }
    }
    // The resource list of the chart too.
    let values = &read(&format!("{CHART}/values.yaml")).unwrap()[0];
    let list = serde_json::json!({ "resourceList": values["config"]["resourceList"] });
    let map = serde_json::json!({ "data": { "config.json": list.to_string() } });
    assert_eq!(
        resources(&map),
        BTreeSet::from(["intel.com/sriov_netdevice".to_owned()])
    );
}

/// The pods of the examples, as they are or from the template of a Deployment: metadata and specification.
fn pods() -> Vec<(String, Value, Value)> {
    let bare = of_kind("Pod")
        .into_iter()
        .map(|(file, pod)| (file, pod["metadata"].clone(), pod["spec"].clone()));
    let made = of_kind("Deployment").into_iter().map(|(file, deployment)| {
        let template = &deployment["spec"]["template"];
        assert_eq!(
            deployment["spec"]["selector"]["matchLabels"],
            template["metadata"]["labels"]
        );
        (file, template["metadata"].clone(), template["spec"].clone())
    });
    bare.chain(made).collect()
}

/// A pod that names a network without a request for its resource gets no device, which is the most frequent mistake.
#[test]
fn pods_request_a_device_for_each_network() {
    let networks = of_kind("NetworkAttachmentDefinition");
    let mut used = BTreeSet::new();
    for (file, metadata, spec) in pods() {
        let mut wanted = BTreeMap::<String, usize>::new();
        let names = annotation(&metadata, "k8s.v1.cni.cncf.io/networks").unwrap();
        for one in names.split(',').map(str::trim) {
            let one = one.split('@').next().unwrap();
            let found = networks.iter().find(|(_, network)| name(network) == one);
            let (_, network) = found.unwrap_or_else(|| panic!("{file}: no network {one}"));
            used.insert(one.to_owned());
            if let Some(resource) = resource_of(network) {
                *wanted.entry(resource.to_owned()).or_default() += 1;
            }
        }
        let resources = &spec["containers"][0]["resources"];
        for side in ["requests", "limits"] {
            let asked = resources[side].as_object().unwrap().iter();
            let ours = asked.filter(|(key, _)| key.starts_with("example.com/"));
            let ours =
                ours.map(|(key, count)| (key.clone(), count.as_str().unwrap().parse().unwrap()));
            assert_eq!(
                ours.collect::<BTreeMap<String, usize>>(),
                wanted,
                "{file}: {side}"
            );
        }
        assert_eq!(spec["automountServiceAccountToken"], false, "{file}");
    }
    let all: BTreeSet<String> = networks
        .iter()
        .map(|(_, network)| name(network).to_owned())
        .collect();
    let unused: Vec<&String> = all.difference(&used).collect();
    assert_eq!(unused, ["storage"], "a network that no example uses");
}
