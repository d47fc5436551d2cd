//! Patterns of words that make a reader stop, each with what to write instead, and the length of test names.
//!
//! [`DONE`] lists the parts of the checkout that are held to them; `TIDY_WORDS=host/` adds one for a single run.

use std::path::{Path, PathBuf};

use super::prose::{Word, passages};
use sriov_lab::checkout::workspace;

/// Files and folders whose prose was rewritten, by the beginning of their path; an empty text is all of them.
const DONE: &[&str] = &[
    ".ci/",
    ".devcontainer/",
    ".editorconfig",
    ".github/",
    ".vscode/",
    "CONTRIBUTING.md",
    "README.md",
    "cni-sriov/",
    "config/",
    "deploy/",
    "device-info/",
    "device-plugin/",
    "docs/",
    "dra-driver/",
    "host/",
    "inventory/",
    "node/",
    "tests/",
];

/// Kinds of files with sentences.
const KINDS: &[&str] = &[
    "md", "rs", "yaml", "yml", "service", "txt", "tpl", "toml", "json", "run",
];

/// This file quotes what it forbids.
const OWN: &str = "tidy/words.rs";

/// The longest name of a test.
const LONGEST_NAME: usize = 60;

/// Words in a row, and what to write instead.
///
/// `a|b` is either, `!a|b` neither, `^` a beginning of a sentence, `#` a number;
/// a word with a capital letter matches only with it.
const PATTERNS: &[(&str, &str)] = &[
    ("oftener", "more often"),
    ("anew", "again"),
    ("besides|beside", "alongside, in addition, next to"),
    ("in the place of", "instead of, replaces"),
    ("to be had", "available"),
    (
        "!there|with is|are|was|were no !longer|more|less",
        "is not a",
    ),
    ("is|are|was|were told", "is notified of, gets"),
    ("tells|telling", "reports, shows"),
    ("is|are|was|were asked", "is queried, is called"),
    ("asks", "queries, requires, requests"),
    ("hears|hear|heard", "receives, is notified of"),
    ("says|saying", "reports, states, logs"),
    ("knows", "supports, has, stores"),
    ("remembers|remembered", "stores, keeps"),
    ("believes|believe", "relies on"),
    ("ill", "unhealthy"),
    ("gets|get|got|being|be|is|was well", "is healthy, recovers"),
    ("lets|let|letting go", "deregisters, releases"),
    ("come|comes|came home", "returns to the host"),
    ("come|comes|came and go|goes|went", "are added and removed"),
    ("is|are|was|were to be", "must be"),
    ("that is|are|was|were there", "that exists, existing"),
    ("some #", "about"),
    ("ever later|more|longer", "at growing intervals"),
    ("for ever", "forever"),
    ("at the most", "at most"),
    ("but for", "except"),
    ("news of", "notices of"),
    (
        "^ What is|are|was|were|has|have|the",
        "a noun or an imperative at the start",
    ),
    ("^ kubelet|kubelet's", "the kubelet"),
    (
        "if|when|while|until|unless|because|since|before kubelet",
        "the kubelet",
    ),
];

const NUMBERS: &[&str] = &[
    "ten", "dozen", "fifteen", "twenty", "thirty", "fifty", "hundred",
];

fn is_number(word: &str) -> bool {
    word.starts_with(|one: char| one.is_ascii_digit()) || NUMBERS.contains(&word)
}

/// Whether a word is one of `a|b`.
fn is_one_of(word: &str, alternatives: &str) -> bool {
    alternatives.split('|').any(|alternative| {
        if alternative == "#" {
            is_number(word)
        } else if alternative.starts_with(char::is_uppercase) {
            word == alternative
        } else {
            word.to_lowercase() == alternative
        }
    })
}

/// Whether the pattern holds from this word on.
fn begins_at(words: &[Word], at: usize, pattern: &str) -> bool {
    let mut next = at;
    pattern.split(' ').all(|element| {
        let word = words.get(next);
        if let Some(others) = element.strip_prefix('!') {
            // Ahead of the pattern it is about the word before, else about the word behind.
            let place = if next == at {
                at.checked_sub(1)
            } else {
                Some(next)
            };
            let word = place.and_then(|place| words.get(place));
            !word.is_some_and(|word| is_one_of(&word.text, others))
        } else if element == "^" {
            // A list of names has no articles: `kubelet, containerd and runc`; nor has a cell of one word.
            let is_alone = words.get(next + 1).is_some_and(|word| word.is_first);
            word.is_some_and(|word| word.is_first && !word.is_before_break && !is_alone)
        } else {
            next += 1;
            word.is_some_and(|word| is_one_of(&word.text, element))
        }
    })
}

/// Patterns in one file, each with its line and what to write instead.
fn complaints(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for words in passages(name, text) {
        for (pattern, instead) in PATTERNS {
            let found = (0..words.len()).filter(|at| begins_at(&words, *at, pattern));
            for place in found.filter_map(|at| words.get(at..)) {
                let quoted: Vec<&str> = place
                    .iter()
                    .take(4)
                    .map(|word| word.text.as_str())
                    .collect();
                let (line, quoted) = (place.first().map_or(0, |word| word.line), quoted.join(" "));
                complaints.push(format!(
                    "{name}:{line}: `{quoted}`: write {instead} (`{pattern}`)"
                ));
            }
        }
    }
    if Path::new(name).extension().is_some_and(|kind| kind == "rs") {
        complaints.extend(long_names(name, text));
    }
    complaints
}

/// Tests with a name that nobody reads to its end.
fn long_names(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut is_test = false;
    for (line, text) in text.lines().map(str::trim).enumerate() {
        let function = text.trim_start_matches("async ").strip_prefix("fn ");
        if text.starts_with("#[") && text.contains("test") {
            is_test = true;
        } else if let Some(function) = function.filter(|_| is_test) {
            let function = function.split(['(', '<']).next().unwrap_or_default();
            let length = function.len();
            if length > LONGEST_NAME {
                let line = line + 1;
                complaints.push(format!(
                    "{name}:{line}: the test's name has {length} characters, {LONGEST_NAME} are the most"
                ));
            }
            is_test = false;
        }
    }
    complaints
}

/// The files that are held to the rules, by their path in the checkout.
fn checked(done: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![workspace().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(workspace()).unwrap().to_owned();
            let text = name.to_str().unwrap();
            let is_part = |done: &String| text.starts_with(done) || done.starts_with(text);
            if path.is_dir() {
                if !matches!(text, ".git" | "target") && done.iter().any(is_part) {
                    dirs.push(path);
                }
            } else if done.iter().any(|done| text.starts_with(done)) && has_sentences(&name) {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn has_sentences(name: &Path) -> bool {
    let extension = name.extension().or(name.file_name());
    let is_kind = extension.is_some_and(|kind| KINDS.iter().any(|one| kind == *one));
    is_kind && !name.ends_with(OWN)
}

#[test]
fn prose_is_free_of_the_listed_patterns() {
    let once = std::env::var("TIDY_WORDS");
    let done: Vec<String> = match once {
        Ok(once) => once.split(',').map(str::to_owned).collect(),
        Err(_) => DONE.iter().map(|done| (*done).to_owned()).collect(),
    };
    let files = checked(&done);
    assert!(!files.is_empty(), "no file below {done:?}");
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(workspace().join(&file)).unwrap();
        // Generated files are as they are.
        if !text.lines().take(3).any(|line| line.contains("@generated")) {
            all.extend(complaints(file.to_str().unwrap(), &text));
        }
    }
    assert!(all.is_empty(), "{} places:\n{}", all.len(), all.join("\n"));
}

#[test]
fn each_pattern_is_noticed_and_plain_words_are_not() {
    for (text, count) in [
        ("It happens oftener than that.", 1),
        ("The file is made anew then.", 1),
        ("A bridge is no VF at all.", 1),
        ("There is no bridge on it.", 0),
        ("The file is no longer used.", 0),
        ("The counter is not to be had there.", 1),
        ("The pod was told of it.", 1),
        ("The log `tells` nothing here.", 0),
        ("It has some 221 VFs.", 1),
        ("It has some VFs of it.", 0),
        ("Then it waits. kubelet removes the pod.", 1),
        ("Then it waits. The kubelet removes it.", 0),
        ("kubelet, containerd and Multus run.", 0),
        ("The list grows when kubelet reads it.", 1),
        ("| a cell | kubelet is there now |", 1),
        ("| a platform | kubelet | values |", 0),
        ("What is in the file.", 1),
        ("It reads what is in the file.", 0),
        ("The device falls ill.", 1),
        ("The text is well-formed JSON.", 0),
        ("A pod lets go of the VF.", 1),
    ] {
        let found = complaints("docs/a.md", text);
        assert_eq!(found.len(), count, "{text}: {found:?}");
    }
}

#[test]
fn names_of_tests_have_a_limit() {
    let of = |length: usize| format!("#[test]\nfn {}() {{}}\n", "a".repeat(length));
    assert_eq!(long_names("a.rs", &of(LONGEST_NAME)), Vec::<String>::new());
    assert_eq!(long_names("a.rs", &of(LONGEST_NAME + 1)).len(), 1);
    let helper = format!("fn {}() {{}}\n", "a".repeat(LONGEST_NAME + 1));
    assert_eq!(long_names("a.rs", &helper), Vec::<String>::new());
}
