//! The sources of the chart: each value is in the schema, in the README and tried; platforms, rules and dashboard agree with the documentation.

use std::collections::BTreeSet;

use serde_json::Value;
use sriov_lab::checkout::workspace;
use sriov_lab::manifests::{CHART, EVERYTHING, MONITORING, files, kind, values};

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The text of a file of the chart.
fn chart_text(name: &str) -> String {
    std::fs::read_to_string(workspace().join(CHART).join(name)).unwrap()
}

/// Else `namespace` and `pod` of a VF's metrics would be those of the device plugin's own pod.
#[test]
fn monitors_keep_the_labels_of_the_metrics() {
    for (golden, monitor, endpoints) in [
        (EVERYTHING, "ServiceMonitor", "endpoints"),
        (MONITORING, "PodMonitor", "podMetricsEndpoints"),
    ] {
        let documents = golden.documents().unwrap();
        let [monitor] = kind(&documents, monitor)[..] else {
            panic!("not one {monitor}")
        };
        let all = monitor["spec"][endpoints].as_array().unwrap();
        let [endpoint] = &all[..] else {
            panic!("not one endpoint")
        };
        assert_eq!(endpoint["honorLabels"], true);
        assert_eq!(endpoint["relabelings"][0]["targetLabel"], "instance");
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let selected = kind(&documents, "Service")
            .first()
            .map_or(&pod_template(&documents)["metadata"]["labels"], |service| {
                &service["metadata"]["labels"]
            });
        for (key, value) in selector.as_object().unwrap() {
            assert_eq!(selected[key], *value);
        }
        for service in kind(&documents, "Service") {
            for (key, value) in service["spec"]["selector"].as_object().unwrap() {
                assert_eq!(pod_template(&documents)["metadata"]["labels"][key], *value);
            }
        }
    }
}

fn pod_template(documents: &[Value]) -> &Value {
    &kind(documents, "DaemonSet")[0]["spec"]["template"]
}

#[test]
fn rules_and_dashboard_are_the_files_of_the_chart() {
    let documents = MONITORING.documents().unwrap();
    let rules: Value = serde_yaml_ng::from_str(&chart_text("files/rules.yaml")).unwrap();
    assert_eq!(kind(&documents, "PrometheusRule")[0]["spec"], rules);
    let dashboard: Value = serde_json::from_str(&chart_text("files/dashboard.json")).unwrap();
    let maps = kind(&documents, "ConfigMap");
    let held = maps
        .iter()
        .find_map(|map| map["data"]["sriov-device-plugin.json"].as_str());
    let held: Value = serde_json::from_str(held.unwrap()).unwrap();
    assert_eq!(held, dashboard);
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

/// Values of the chart's files, the defaults first.
fn all_values() -> Vec<Value> {
    let mut names = vec![workspace().join(CHART).join("values.yaml")];
    names.extend(files(&format!("{CHART}/ci")).unwrap());
    names.extend(files(&format!("{CHART}/platforms")).unwrap());
    let read = |name| serde_yaml_ng::from_str(&std::fs::read_to_string(name).unwrap()).unwrap();
    names.into_iter().map(read).collect()
}

#[test]
fn each_value_is_in_the_schema_and_tested() {
    let all = all_values();
    let (values, tried) = all.split_first().unwrap();
    let schema: Value = serde_json::from_str(&chart_text("values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    paths(values, "", &mut known);
    for path in &known {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let mut at = &schema;
        for part in &parts {
            // A free-form part of the schema ends the path.
            if at["properties"] == Value::Null {
                break;
            }
            at = &at["properties"][part];
            assert!(at.is_object(), "{path} is not in the schema");
        }
        // A label's key has a `/` of its own; the schema allows no other value of `maxSurge`.
        let is_free = parts.first() == Some(&"nodeSelector") || path.ends_with("/maxSurge");
        let default = values.pointer(path);
        let is_tried = tried
            .iter()
            .filter_map(|values| values.pointer(path))
            .any(|other| Some(other) != default);
        assert!(is_free || is_tried, "{path} is not tried");
    }
    let mut all = BTreeSet::new();
    schema_paths(&schema, "", &mut all);
    for path in &all {
        assert!(
            path == "/global" || path.starts_with("/affinity/") || values.pointer(path).is_some(),
            "{path} is not a value"
        );
    }
}

#[test]
fn readme_of_the_chart_has_all_values() {
    let readme = chart_text("README.md");
    let current = values::with_table(&readme, &chart_text("values.yaml")).unwrap();
    assert_eq!(readme, current, "cargo lab manifests --write");
}

/// Each file of values for a platform has its row in docs/platforms.md, with the same directories.
#[test]
fn table_of_platforms_has_the_directories_of_the_values() {
    let page = std::fs::read_to_string(workspace().join("docs/platforms.md")).unwrap();
    let all = files(&format!("{CHART}/platforms")).unwrap();
    assert_eq!(all.len(), 10);
    for file in all {
        let values: Value =
            serde_yaml_ng::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        let link = format!("[`{name}`](../{CHART}/platforms/{name})");
        let row = page.lines().find(|line| line.contains(&link));
        let row = row.unwrap_or_else(|| panic!("docs/platforms.md has no row with {link}"));
        for dir in [&values["kubeletDir"], &values["cni"]["binDir"]] {
            assert!(row.contains(&format!("`{}`", text(dir))), "{row}");
        }
    }
}

/// Paths of all values that a schema defines.
fn schema_paths(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(at.to_owned());
        return;
    };
    for (key, inner) in properties {
        schema_paths(inner, &format!("{at}/{key}"), found);
    }
}
