//! The examples of `docs/dra.md` and `docs/migration-dra.md`, which the suites run as they stand there.
//!
//! Only pods are changed, for the lab's node: image, tolerations, and the time that they need to end.

use serde_json::{Value, json};
use sriov_lab::manifests::documents;
use sriov_testkit::cluster::{Cluster, Pod};

const PAGES: [&str; 2] = [
    include_str!("../../../../docs/dra.md"),
    include_str!("../../../../docs/migration-dra.md"),
];

/// The objects below a heading, in the order of the page.
fn objects(heading: &str) -> Vec<Value> {
    let mark = format!("\n### {heading}\n");
    let section = PAGES.iter().find_map(|page| page.split(&mark).nth(1));
    let section = section.unwrap_or_else(|| panic!("no page has the example `{heading}`"));
    let section = section.split("\n## ").next().unwrap();
    let section = section.split("\n### ").next().unwrap();
    let blocks = section.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| documents(block).unwrap()).collect()
}

/// Creates the objects below a heading of the documents, and returns the pods.
pub(crate) fn apply<'a>(cluster: &'a Cluster, heading: &str) -> Vec<Pod<'a>> {
    let mut pods = Vec::new();
    for mut object in objects(heading) {
        match object["kind"].as_str().unwrap() {
            "NetworkAttachmentDefinition" => cluster.apply_network(&object.to_string()).unwrap(),
            "Pod" => {
                adapt(&mut object["spec"]);
                pods.push(cluster.pod(&object).unwrap());
            }
            "Deployment" => {
                adapt(&mut object["spec"]["template"]["spec"]);
                cluster.api.replace(&object).unwrap();
            }
            _ => {
                cluster.api.replace(&object).unwrap();
            }
        }
    }
    pods
}

/// The only pod below a heading.
pub(crate) fn pod<'a>(cluster: &'a Cluster, heading: &str) -> Pod<'a> {
    let mut pods = apply(cluster, heading);
    assert_eq!(pods.len(), 1, "{heading}");
    pods.remove(0)
}

fn adapt(spec: &mut Value) {
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["automountServiceAccountToken"] = json!(false);
    spec["dnsPolicy"] = json!("Default");
    // No controller removes the taints of a new node here.
    spec["tolerations"] = json!([{ "operator": "Exists" }]);
    for container in spec["containers"].as_array_mut().unwrap() {
        container["image"] = json!("localhost/pod:1");
        container["imagePullPolicy"] = json!("Never");
    }
}
