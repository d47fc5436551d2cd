//! House rules that no lint checks: each file begins with its content, stays readable in one sitting, and has a name of the domain.
//!
//! Only files of the checkout are read, and none is changed.

mod kit;
mod prose;
mod words;

use std::path::{Path, PathBuf};

use sriov_lab::checkout::workspace;

/// Names that do not describe the content.
const EMPTY_NAMES: &[&str] = &["utils", "helpers", "common", "misc", "types", "manager"];

/// Marks of work that was left undone. Put together here, so that this file has none.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

const LONGEST: usize = 450;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![workspace().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Broken rules of one file, in sentences.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//! ") {
        complaints.push("does not start with a `//!` line that describes its content".to_owned());
    }
    // Generated files are marked in their first lines, and have no limit of length.
    let is_generated = text.lines().take(3).any(|line| line.contains("@generated"));
    let lines = text.lines().count();
    if lines > LONGEST && !is_generated {
        complaints.push(format!("has {lines} lines, {LONGEST} are the most"));
    }
    if path.file_name().is_some_and(|name| name == "mod.rs") {
        complaints.push("is a mod.rs: name the file after its module".to_owned());
    }
    let parts = path.iter().map(|part| part.to_str().unwrap());
    for part in parts.map(|part| part.trim_end_matches(".rs")) {
        if EMPTY_NAMES.contains(&part) {
            complaints.push(format!(
                "is called `{part}`, which does not describe its content"
            ));
        }
    }
    for mark in UNFINISHED {
        for (number, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(mark))
        {
            complaints.push(format!("has `{mark}` in line {}", number + 1));
        }
    }
    complaints
}

#[test]
fn sources_keep_the_house_rules() {
    let sources = sources();
    assert!(sources.len() > 20, "found only {} sources", sources.len());
    let mut all = Vec::new();
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(workspace()).unwrap();
        all.extend(
            complaints(name, &text)
                .into_iter()
                .map(|complaint| format!("{} {complaint}", name.display())),
        );
    }
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn each_broken_rule_is_noticed() {
    let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
    let unfinished = format!("//! Begins well.\n// {} later\n", UNFINISHED[0]);
    let generated = format!(
        "//! Messages.\n// This is @generated.\n{}",
        "\n".repeat(LONGEST)
    );
    for (path, text, count) in [
        ("host/src/vf.rs", "//! VFs.\n", 0),
        ("host/src/vf.rs", "", 1),
        ("host/src/vf.rs", "// VFs.\n", 1),
        ("host/src/vf.rs", long.as_str(), 1),
        ("host/src/vf.rs", unfinished.as_str(), 1),
        ("host/src/proto.rs", generated.as_str(), 0),
        ("host/src/vf/mod.rs", "//! VFs.\n", 1),
        ("host/src/utils/vf.rs", "//! VFs.\n", 1),
    ] {
        assert_eq!(complaints(Path::new(path), text).len(), count, "{path}");
    }
}
