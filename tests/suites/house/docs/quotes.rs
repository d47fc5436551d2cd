//! The outputs that `docs/troubleshooting.md` quotes are texts of the programs.

use std::fs;

use sriov_lab::checkout::workspace;
use sriov_lab::manifests::files;

/// Texts of other programs.
const FOREIGN: &[&str] = &[
    "failed to get network",
    "cached result",
    "unexpected end of",
];

/// Columns of quoted outputs.
const COLUMNS: &[&str] = &["output", "sentence"];

/// The cells of a table's row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|')
        .split(" | ")
        .map(|cell| cell.trim_matches(['|', ' ']))
        .collect()
}

/// Texts in backticks, in the columns of outputs.
fn quotes(page: &str) -> Vec<String> {
    let mut quotes = Vec::new();
    let mut column = None;
    for row in page.lines() {
        let cells = cells(row);
        if let Some(found) = cells.iter().position(|cell| COLUMNS.contains(cell)) {
            column = Some(found);
        } else if !row.starts_with('|') {
            column = None;
        } else if let Some(cell) = column.and_then(|column| cells.get(column)) {
            quotes.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    quotes
}

/// Two plain words or more in a row: what a quote has of the program and not of the machine.
fn fragments(quote: &str) -> Vec<String> {
    let mut fragments = vec![Vec::new()];
    for word in quote.split_whitespace() {
        let plain = word.trim_end_matches([':', ',', '?']);
        if plain
            .chars()
            .all(|one| one.is_ascii_lowercase() || one == '\'')
        {
            fragments.last_mut().unwrap().push(word.to_owned());
        }
        if plain != word
            || !plain
                .chars()
                .all(|one| one.is_ascii_lowercase() || one == '\'')
        {
            fragments.push(Vec::new());
        }
    }
    let long = fragments.iter().filter(|words| words.len() > 1);
    long.map(|words| words.join(" ").trim_end_matches([':', ',', '?']).to_owned())
        .collect()
}

/// All sources of the packages at the top, with texts over several lines in one.
fn sources() -> String {
    let mut all = String::new();
    for package in fs::read_dir(workspace()).unwrap() {
        let package = package.unwrap().path();
        if !package.join("Cargo.toml").exists() || package.ends_with("tests") {
            continue;
        }
        for path in files(package.to_str().unwrap()).unwrap() {
            if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
                all.extend(text.split_whitespace().flat_map(|word| [word, " "]));
            }
        }
    }
    all
}

#[test]
fn quoted_outputs_are_texts_of_the_programs() {
    let page = fs::read_to_string(workspace().join("docs/troubleshooting.md")).unwrap();
    let sources = sources();
    let mut seen = 0;
    let mut missing = Vec::new();
    for quote in quotes(&page) {
        for fragment in fragments(&quote) {
            seen += 1;
            if !FOREIGN.contains(&fragment.as_str()) && !sources.contains(&fragment) {
                missing.push(format!("`{fragment}` of `{quote}`"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no program prints:\n{}",
        missing.join("\n")
    );
    assert!(seen > 15, "{seen}");
}

#[test]
fn fragments_leave_out_what_differs() {
    let of = |quote: &str| fragments(quote).join("|");
    assert_eq!(of("its PF ... is down"), "is down");
    assert_eq!(
        of("user 65534 may not write to ...: ..."),
        "may not write to"
    );
    assert_eq!(
        of("warning: ... unknown key, it has no effect: did you"),
        "unknown key|it has no effect|did you"
    );
}
