//! The files for contributors agree with what they repeat: the packages of CI, the version of Rust, the version of the workspace.

use std::collections::BTreeSet;

use serde_json::Value;

use sriov_lab::checkout::workspace;

fn read(name: &str) -> String {
    let path = workspace().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Debian packages that a command line installs.
fn installed(text: &str) -> BTreeSet<&str> {
    let (_, packages) = text.split_once("--no-install-recommends ").unwrap();
    let packages = packages.split(['\n', '"']).next().unwrap();
    packages.split_whitespace().collect()
}

#[test]
fn containers_have_the_packages_and_the_rust_of_ci() {
    let run = read(".ci/run");
    let needs = run.lines().filter_map(|line| line.strip_prefix("need /"));
    let needed: BTreeSet<&str> = needs.filter_map(|line| line.split(' ').nth(1)).collect();
    assert!(needed.len() > 3, "{needed:?}");
    let toolchain = read("rust-toolchain.toml");
    let (_, channel) = toolchain.split_once("channel = \"").unwrap();
    let parts: Vec<&str> = channel.split(['.', '"']).collect();
    let image = format!("rust:{}.{}-bookworm", parts[0], parts[1]);
    for name in [".devcontainer/devcontainer.json", "CONTRIBUTING.md"] {
        let text = read(name);
        assert_eq!(installed(&text), needed, "{name}");
        assert!(text.contains(&image), "{name} does not name {image}");
    }
}

#[test]
fn settings_are_json() {
    for name in [".devcontainer/devcontainer.json", ".vscode/settings.json"] {
        let read: Result<Value, _> = serde_json::from_str(&read(name));
        assert!(read.is_ok_and(|value| value.is_object()), "{name}");
    }
}

#[test]
fn fields_of_the_issue_forms_have_ids_and_labels() {
    for name in ["problem", "proposal"] {
        let text = read(&format!(".github/ISSUE_TEMPLATE/{name}.yml"));
        let form: Value = serde_yaml_ng::from_str(&text).unwrap();
        let mut ids = BTreeSet::new();
        for field in form["body"].as_array().unwrap() {
            if field["type"] != "markdown" {
                let id = field["id"].as_str().unwrap();
                assert!(ids.insert(id), "{name}: {id} twice");
                assert!(field["attributes"]["label"].is_string(), "{name}: {id}");
            }
        }
        assert!(ids.len() > 2, "{name}: {ids:?}");
    }
}

#[test]
fn changelog_has_the_version_of_the_workspace() {
    let changelog = read("docs/changelog.md");
    let manifest = read("Cargo.toml");
    let (_, version) = manifest.split_once("\nversion = \"").unwrap();
    let version = version.split('"').next().unwrap();
    assert!(changelog.contains("\n## Unreleased\n"));
    assert!(changelog.contains(version), "{version}");
}
