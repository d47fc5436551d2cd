//! The examples with claims: our parsers accept their parameters and networks, and the suite `kube::dra` runs each.

use std::fs;

use serde_json::Value;
use sriov_config::NetConf;
use sriov_config::vf_config::{Accepted, VfConfig};
use sriov_lab::checkout::workspace;
use sriov_lab::manifests::{documents, files};

use super::between;

const PAGES: [&str; 2] = ["docs/dra.md", "docs/migration-dra.md"];

/// The sections with YAML, each with its heading and its objects.
fn examples() -> Vec<(String, Vec<Value>)> {
    let mut examples = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(workspace().join(page)).unwrap();
        for section in text.split("\n#").skip(1) {
            let heading = section.lines().next().unwrap().trim_start_matches('#');
            let blocks = between(section, "```yaml\n", "```").into_iter();
            let blocks = blocks.flat_map(|block| documents(block).unwrap());
            // Values of the chart have no kind.
            let objects: Vec<Value> = blocks.filter(|one| one["kind"].is_string()).collect();
            if !objects.is_empty() {
                examples.push((heading.trim().to_owned(), objects));
            }
        }
    }
    examples
}

#[test]
fn each_example_with_claims_is_run() {
    let suites = files("tests/suites/kube").unwrap().into_iter();
    let suites: String = suites
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let examples = examples();
    for (heading, _) in &examples {
        assert!(suites.contains(&format!("\"{heading}\"")), "{heading}");
    }
    assert!(examples.len() >= 9, "{}", examples.len());
}

#[test]
fn parameters_and_networks_of_examples_are_accepted() {
    let (mut parameters, mut networks) = (0, 0);
    for (heading, objects) in examples() {
        for object in objects {
            let configs = object.pointer("/spec/spec/devices/config");
            for config in configs.and_then(Value::as_array).into_iter().flatten() {
                let value = &config["opaque"]["parameters"];
                let read = VfConfig::parse(value, &heading, Accepted::WithSriovnetwork);
                read.unwrap_or_else(|mistakes| panic!("{mistakes}"));
                parameters += 1;
            }
            if object["kind"] == "NetworkAttachmentDefinition" {
                let text = object["spec"]["config"].as_str().unwrap();
                NetConf::parse(text, None).unwrap_or_else(|error| panic!("{heading}: {error}"));
                networks += 1;
            }
        }
    }
    assert!(parameters >= 4 && networks >= 3, "{parameters} {networks}");
}
