//! The documentation for operators: links lead somewhere, files and commands that it names are there, its examples are well-formed.

mod claims;
mod quotes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sriov_lab::checkout::workspace;
use sriov_lab::command::HELP;
use sriov_lab::manifests::{documents, files};
use sriov_testkit::plugin;

use super::arrows::members;

/// README, CONTRIBUTING and all of `docs`, each with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = files("docs").unwrap().into_iter();
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let top = ["README.md", "CONTRIBUTING.md"].map(|name| workspace().join(name));
    top.into_iter()
        .chain(pages)
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// The texts between two marks.
fn between<'a>(text: &'a str, start: &str, end: &'a str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts.filter_map(|part| part.split(end).next()).collect()
}

/// A heading as the part of a link after `#`.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|one| one.is_alphanumeric() || " -_".contains(*one));
    kept.map(|one| if one == ' ' { '-' } else { one }).collect()
}

fn has_anchor(page: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    text.lines()
        .any(|line| line.starts_with('#') && anchor(line) == wanted)
}

#[test]
fn links_have_existing_targets() {
    let mut seen = 0;
    for (page, text) in pages() {
        for link in between(&text, "](", ")") {
            if link.starts_with("https://") {
                continue;
            }
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(to.exists(), "{}: {link}", page.display());
            assert!(
                part.is_empty() || has_anchor(&to, part),
                "{}: {link}",
                page.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The folders of the checkout, each with a slash at its end.
fn folders() -> Vec<String> {
    let entries = fs::read_dir(workspace()).unwrap();
    let dirs = entries.map(|entry| entry.unwrap().path());
    let names = dirs
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names
        .filter(|name| !name.starts_with('.') && name != "target")
        .map(|name| name + "/")
        .collect()
}

#[test]
fn named_files_of_the_checkout_exist() {
    let folders = folders();
    let mut seen = 0;
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let words = text.split(|one: char| one.is_whitespace() || "`()[]#".contains(one));
        for word in words.map(|word| word.trim_end_matches([',', '.', ':', ';'])) {
            if folders.iter().any(|folder| word.starts_with(folder)) {
                seen += 1;
                if !workspace().join(word).exists() {
                    missing.push(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    assert!(seen > 50, "{seen}");
}

#[test]
fn named_commands_exist() {
    let program = plugin::binary().unwrap();
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let first = |text: &str| -> String {
        text.chars()
            .take_while(|one| one.is_alphanumeric() || *one == '-')
            .collect()
    };
    for (page, text) in pages() {
        for rest in between(&text, "cargo lab ", "\n") {
            let word = first(rest);
            let is_known = word.is_empty() || HELP.contains(&format!("  {word}"));
            assert!(is_known, "{}: cargo lab {word}", page.display());
        }
        for rest in between(&text, "sriov-device-plugin ", "\n") {
            let word = first(rest);
            let is_command =
                ["check-config", "inventory", "explain", "capture"].contains(&word.as_str());
            let is_flag = word.starts_with("--");
            if is_command || is_flag {
                assert!(help.contains(&word), "{}: {word}", page.display());
            }
        }
    }
}

#[test]
fn blocks_of_yaml_and_json_are_valid() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (language, is_json) in [("```yaml\n", false), ("```json\n", true)] {
            for block in between(&text, language, "```") {
                let read = if is_json {
                    serde_json::from_str::<Value>(block)
                        .map(|_| ())
                        .map_err(anyhow::Error::new)
                } else {
                    documents(block).map(|_| ())
                };
                assert!(read.is_ok(), "{}: {read:?}\n{block}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}

/// A file of Rust as the modules that lead to it, and its text.
fn modules() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    for member in members() {
        for path in files(&member).unwrap() {
            let name = path.strip_prefix(workspace()).unwrap().with_extension("");
            if path.extension().is_some_and(|extension| extension == "rs") {
                let parts = name.iter().map(|part| part.to_str().unwrap().to_owned());
                found.push((parts.collect(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Whether modules in a row, the last of which may be a function, are in one of the files.
fn is_in_sources(words: &[&str], sources: &[(Vec<String>, String)]) -> bool {
    let (last, before) = words.split_last().unwrap();
    let is_at = |path: &[String], words: &[&str]| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        path.ends_with(words)
    };
    sources.iter().any(|(path, text)| {
        is_at(path, words)
            || (is_at(path, before)
                && (text.contains(&format!("fn {last}(")) || text.contains(&format!("mod {last}"))))
            || before.split_last().is_some_and(|(inner, outer)| {
                *inner == "tests" && is_at(path, outer) && text.contains(&format!("fn {last}("))
            })
    })
}

#[test]
fn named_tests_exist() {
    let sources = modules();
    let (mut seen, mut missing) = (0, Vec::new());
    for (page, text) in pages() {
        for word in text.split('`').skip(1).step_by(2) {
            let words: Vec<&str> = word.split("::").collect();
            let is_test = words.contains(&"tests") || ["guest", "kube"].contains(&words[0]);
            if words.len() > 1 && is_test {
                seen += 1;
                if !is_in_sources(&words, &sources) {
                    missing.push(format!("{}: {word}", page.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 50, "{seen}");
}

/// An anchor as GitHub makes it.
#[test]
fn headings_become_anchors() {
    for (heading, expected) in [
        ("## From `sriov-cni`", "from-sriov-cni"),
        ("# Who holds what", "who-holds-what"),
        (
            "## A machine that changes, line by line",
            "a-machine-that-changes-line-by-line",
        ),
    ] {
        assert_eq!(anchor(heading), expected);
    }
}
