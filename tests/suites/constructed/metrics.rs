//! Metrics and probes of the running plugin. Dashboard and alert rules use only exported metrics and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use sriov_lab::checkout::workspace;
use sriov_lab::manifests::{CHART, EVERYTHING, Golden, MONITORING, kind};
use sriov_testkit::kubelet::Kubelet;
use sriov_testkit::node::wait_for;
use sriov_testkit::plugin::{self, Plugin};
use sriov_testkit::prometheus::{self, Prometheus};
use sriov_testkit::scrape::Scrape;
use sriov_testkit::tree::Tree;

const PF: &str = "0000:01:00.0";
const VFS: [&str; 2] = ["0000:01:10.0", "0000:01:10.2"];
const RESOURCE: &str = "x.y/vf";

/// A machine with traffic, its kubelet, and the plugin with metrics.
struct Node {
    dir: tempfile::TempDir,
    kubelet: Kubelet,
    plugin: Plugin,
    scrape: Scrape,
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        tree.pf(PF, "igb", 7).unwrap();
        for attribute in [("ifindex", "2"), ("type", "1")] {
            let path = format!("{PF}/net/pf0/{}", attribute.0);
            tree.file(&path, attribute.1).unwrap();
        }
        for (index, vf) in VFS.iter().enumerate() {
            tree.vf(PF, vf, "igbvf").unwrap();
            for counter in [
                "rx_bytes",
                "tx_bytes",
                "rx_packets",
                "tx_packets",
                "rx_dropped",
                "tx_dropped",
                "rx_broadcast",
                "rx_multicast",
                "tx_errors",
            ] {
                let path = format!("{PF}/sriov/{index}/stats/{counter}");
                tree.file(&path, &format!("{}", 100 + index)).unwrap();
            }
        }
        let config = json!({ "resourceList": [{ "resourceName": "vf", "resourcePrefix": "x.y", "selectors": { "drivers": ["igbvf"] } }] });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let kubelet = Kubelet::start(&dir.path().join("kubelet"), false).unwrap();
        let mut flags = plugin::flags(
            dir.path(),
            "config.json",
            &[("cni-dir", "cni"), ("host-root", "")],
        );
        flags.push("--metrics-address=0".to_owned());
        fs::create_dir(dir.path().join("cni")).unwrap();
        let log = dir.path().join("log");
        let plugin = Plugin::start(plugin::binary().unwrap(), &flags, &log).unwrap();
        let scrape = Scrape::of_log(&log).unwrap();
        Self {
            dir,
            kubelet,
            plugin,
            scrape,
        }
    }
}

#[test]
fn probes_follow_the_kubelet_and_metrics_name_the_pod() {
    let mut node = Node::start();
    let scrape = node.scrape.clone();
    let ask = |request: &str| scrape.ask(request).unwrap();
    let see = |line: &str| scrape.wait_for_line(line, true).unwrap();
    assert!(node.scrape.address.starts_with("127.0.0.1:"));
    wait_for("it is ready", || ask("GET /readyz").0 == 200).unwrap();
    assert_eq!(ask("GET /healthz"), (200, "ok\n".to_owned()));
    assert_eq!(ask("HEAD /healthz"), (200, String::new()));
    assert_eq!(ask("POST /metrics").0, 405);
    assert_eq!(ask("GET /").0, 404);

    node.kubelet.allocate(RESOURCE, &[VFS[1]]).unwrap();
    node.kubelet
        .allocate(RESOURCE, &["0000:09:10.0"])
        .unwrap_err();
    node.kubelet
        .pods(|pods| pods.run("pod-a", RESOURCE, &[VFS[1]]));
    for line in [
        format!(
            r#"sriov_kubepoddevice{{pciAddr="{}",dev_type="x.y/vf",namespace="default",pod="pod-a",container="app"}} 1"#,
            VFS[1]
        ),
        format!(
            r#"sriov_vf_receive_bytes_total{{pf="pf0",vf="1",pci_address="{}",numa_node="1",namespace="default",pod="pod-a",container="app"}} 101"#,
            VFS[1]
        ),
        format!(
            r#"sriov_vf_rx_bytes{{pf="pf0",vf="0",pciAddr="{}",numa_node="1"}} 100"#,
            VFS[0]
        ),
        format!(r#"sriov_device_plugin_devices_held{{resource="{RESOURCE}"}} 1"#),
        format!(r#"sriov_device_plugin_allocations_total{{resource="{RESOURCE}",code="OK"}} 1"#),
        format!(
            r#"sriov_device_plugin_allocations_total{{resource="{RESOURCE}",code="NOT_FOUND"}} 1"#
        ),
        format!(
            r#"sriov_device_plugin_registrations_total{{resource="{RESOURCE}",result="accepted"}} 1"#
        ),
        format!(r#"sriov_device_plugin_list_streams{{resource="{RESOURCE}"}} 1"#),
    ] {
        see(&line);
    }

    node.kubelet
        .pods(|pods| pods.allocatable = Some(Vec::new()));
    // After a change the plugin queries the kubelet.
    node.kubelet.allocate(RESOURCE, &[VFS[1]]).unwrap();
    wait_for(
        "the plugin has noticed that the kubelet lost the devices",
        || ask("GET /readyz").0 == 503,
    )
    .unwrap();
    assert!(ask("GET /readyz").1.contains(RESOURCE));
    node.kubelet.silence();
    node.kubelet.allocate(RESOURCE, &[VFS[1]]).unwrap();
    see("sriov_device_plugin_pod_resources_up 0");
    node.plugin.stop().unwrap();
}

/// The samples of a page: lists of labels by the name of the metric.
fn exported(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once("=\""));
        let names = labels.map(|(label, _)| label.to_owned());
        exported.entry(name.to_owned()).or_default().extend(names);
    }
    exported
}

/// The metrics of a query with their label matchers, and the labels that the query groups by.
fn asked(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut metrics, mut groups) = (Vec::new(), Vec::new());
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '"') {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').unwrap().1;
            continue;
        }
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let list = |open, close| {
            let inner = after.trim_start().strip_prefix(open)?.split_once(close)?;
            let labels = inner.0.split(',').map(|label| {
                label
                    .split(|c| !is_name(c))
                    .find(|part| !part.is_empty())
                    .unwrap_or_default()
            });
            Some((labels.map(str::to_owned).collect::<Vec<_>>(), inner.1))
        };
        if word.starts_with("sriov_") {
            let (labels, after) = list('{', '}').unwrap_or((Vec::new(), after));
            metrics.push((word.to_owned(), labels));
            rest = after;
        } else if matches!(word, "by" | "on" | "without" | "group_left" | "group_right") {
            let (labels, after) = list('(', ')').unwrap();
            groups.extend(labels);
            rest = after;
        }
    }
    (metrics, groups)
}

fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("expr", Value::String(query)) => found.push(query.clone()),
                    ("query", Value::String(query)) if query.contains("sriov_") => {
                        found.push(query.clone());
                    }
                    _ => queries(value, found),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn metrics_and_labels_are_parsed_from_a_query() {
    let (metrics, groups) = asked(
        r#"sum by (pod, le) (rate(sriov_a_total{instance=~"$x, sriov_no",pod!=""}[5m])) / on (vf) sriov_b > 0"#,
    );
    let labels = |labels: &[&str]| {
        labels
            .iter()
            .map(|&label| label.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(groups, labels(&["pod", "le", "vf"]));
    assert_eq!(metrics[0].0, "sriov_a_total");
    assert!(
        metrics[0].1.contains(&"instance".to_owned()) && metrics[0].1.contains(&"pod".to_owned())
    );
    assert_eq!(metrics[1], ("sriov_b".to_owned(), Vec::new()));
}

/// A node with a pod, an allocation that failed, a device that is attached without a pod, and one that is unhealthy.
fn node_with_findings() -> Node {
    let node = Node::start();
    let tree = Tree::new(node.dir.path());
    let write_journal = |phase: &str, vf: &str| {
        let attachment = tree.attachment(PF, vf, phase).unwrap();
        let file = node.dir.path().join(format!("cni/{vf}.json"));
        fs::write(file, attachment.to_string()).unwrap();
    };
    write_journal("attached", VFS[0]);
    node.kubelet
        .wait_for("a list has arrived", |known| {
            known
                .get(RESOURCE)
                .is_some_and(|known| known.ids().len() == 2)
        })
        .unwrap();
    node.kubelet
        .pods(|pods| pods.run("pod-a", RESOURCE, &[VFS[1]]));
    node.kubelet.allocate(RESOURCE, &[VFS[1]]).unwrap();
    node.kubelet
        .allocate(RESOURCE, &["0000:09:10.0"])
        .unwrap_err();
    let finding = format!(
        r#"sriov_device_plugin_device_finding{{pci_address="{}",finding="leaked"}} 1"#,
        VFS[0]
    );
    node.scrape.wait_for_line(&finding, true).unwrap();
    write_journal("dirty", VFS[1]);
    let unhealthy = format!(
        r#"sriov_device_plugin_device_unhealthy{{resource="{RESOURCE}",device="{}",reason="dirty"}} 1"#,
        VFS[1]
    );
    node.scrape.wait_for_line(&unhealthy, true).unwrap();
    node
}

fn chart_file(name: &str) -> PathBuf {
    workspace().join(CHART).join("files").join(name)
}

fn dashboard_and_rules() -> [Value; 2] {
    let read = |name| fs::read_to_string(chart_file(name)).unwrap();
    let dashboard = serde_json::from_str(&read("dashboard.json")).unwrap();
    let rules = serde_yaml_ng::from_str(&read("rules.yaml")).unwrap();
    [dashboard, rules]
}

#[test]
fn dashboard_and_rules_use_exported_metrics() {
    let node = node_with_findings();
    let exported = exported(&node.scrape.page().unwrap());
    // Labels that Prometheus adds.
    let added = ["instance", "job", "namespace"].map(str::to_owned);
    let all: BTreeSet<&String> = exported.values().flatten().chain(&added).collect();
    let [dashboard, rules] = dashboard_and_rules();
    for (document, least) in [(dashboard, 10), (rules, 5)] {
        let mut found = Vec::new();
        queries(&document, &mut found);
        assert!(found.len() >= least, "{found:?}");
        for query in found {
            let (metrics, groups) = asked(&query);
            assert!(!metrics.is_empty(), "{query}");
            for (metric, labels) in metrics {
                let has = exported
                    .get(&metric)
                    .unwrap_or_else(|| panic!("{metric} is not exported: {query}"));
                for label in labels {
                    assert!(
                        has.contains(&label) || added.contains(&label),
                        "{metric} has no {label}: {query}"
                    );
                }
            }
            for label in groups {
                assert!(all.contains(&label), "no metric has {label}: {query}");
            }
        }
    }
    node.plugin.stop().unwrap();
}

/// A query as Grafana sends it for one node; an alert's without its threshold, so that it has a result while no alert fires.
fn sent(query: &str) -> String {
    let query = query.replace("$instance", "node-a");
    let values = query.strip_prefix("label_values(");
    if let Some((metric, label)) = values.and_then(|rest| rest.split_once(", ")) {
        return format!("{metric}{{{}!=\"\"}}", label.trim_end_matches(')'));
    }
    let parts = [" == ", " >= ", " > "];
    let end = parts.iter().filter_map(|part| query.find(part)).min();
    query[..end.unwrap_or(query.len())].to_owned()
}

/// Prometheus scrapes the node as the operator has it do for a monitor of the chart; all queries have results.
fn assert_queries_have_results(node: &Node, golden: Golden, monitor: &str) {
    let documents = golden.documents().unwrap();
    let monitor = kind(&documents, monitor)[0];
    let discovered = [
        ("namespace", "kube-system"),
        ("service_name", "sriov-device-plugin-metrics"),
        ("pod_name", "sriov-device-plugin-x"),
        ("pod_container_name", "sriov-device-plugin"),
        ("pod_node_name", "node-a"),
    ];
    let scrape = prometheus::scrape_config(monitor, &node.scrape.address, &discovered).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), &scrape, &chart_file("rules.yaml")).unwrap();
    let query = |query: &str| prometheus.query(query).unwrap();

    // A rate needs two samples that differ.
    let tree = Tree::new(node.dir.path());
    let mut bytes = 1000;
    wait_for("bytes by pod are recorded", || {
        bytes += 1000;
        let file = format!("{PF}/sriov/1/stats/rx_bytes");
        tree.file(&file, &bytes.to_string()).unwrap();
        let recorded = query("namespace_pod:sriov_vf_receive_bytes:rate5m > 0");
        let labels = json!({ "__name__": "namespace_pod:sriov_vf_receive_bytes:rate5m", "namespace": "default", "pod": "pod-a" });
        recorded.len() == 1 && recorded[0].0 == labels
    })
    .unwrap();
    // Nobody holds this VF, in particular not the device plugin's own pod.
    let free = query("sriov_vf_receive_bytes_total{vf=\"0\"}");
    assert_eq!(free.len(), 1);
    assert_eq!(free[0].0["pod"], Value::Null);
    // Metrics of the device plugin are those of its pod.
    let ready = &query("sriov_device_plugin_ready")[0].0;
    assert_eq!(ready["pod"], "sriov-device-plugin-x");
    assert_eq!(ready["instance"], "node-a");

    let mut all = Vec::new();
    for document in dashboard_and_rules() {
        queries(&document, &mut all);
    }
    assert!(all.len() > 25, "{all:?}");
    for one in all {
        assert!(!query(&sent(&one)).is_empty(), "no result: {one}");
    }
    let [_, rules] = dashboard_and_rules();
    for group in rules["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            if let Some(name) = rule["record"].as_str() {
                wait_for(name, || !query(name).is_empty()).unwrap();
            }
        }
    }
}

#[test]
#[ignore = "needs Prometheus: cargo lab manifests"]
fn queries_have_results_in_prometheus() {
    let node = node_with_findings();
    let check = Command::new(prometheus::program("promtool").unwrap())
        .args(["check", "rules"])
        .arg(chart_file("rules.yaml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    assert_queries_have_results(&node, EVERYTHING, "ServiceMonitor");
    assert_queries_have_results(&node, MONITORING, "PodMonitor");
    node.plugin.stop().unwrap();
}
