//! The values of the chart as the table of its README: path, default and the comment above each value.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The lines between which the table is.
const MARKS: (&str, &str) = ("<!-- values -->\n", "<!-- end of values -->\n");

/// A value of the chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Keys, joined by `.`.
    pub path: String,
    /// The default.
    pub default: Value,
    /// What it is for.
    pub meaning: String,
}

/// All values of a text in the form of `values.yaml`, in its order: each key with a comment above it is one, whatever is below it.
///
/// # Errors
/// When the text is not YAML, or a value has no comment.
pub fn entries(text: &str) -> Result<Vec<Entry>> {
    let values: Value = serde_yaml_ng::from_str(text)?;
    let mut found: Vec<Entry> = Vec::new();
    let mut keys: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Lines that are indented deeper belong to the value.
    let mut leaf: Option<usize> = None;
    for line in text.lines() {
        let word = line.trim_start();
        let indent = line.len() - word.len();
        if word.is_empty() {
            comment.clear();
            continue;
        }
        if leaf.is_some_and(|at| indent > at) {
            continue;
        }
        leaf = None;
        if let Some(text) = word.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let (key, _) = word.split_once(':').context(word.to_owned())?;
        keys.retain(|(at, _)| *at < indent);
        keys.push((indent, key));
        let names: Vec<&str> = keys.iter().map(|(_, key)| *key).collect();
        let default = values.pointer(&format!("/{}", names.join("/")));
        let default = default.context(word.to_owned())?;
        if comment.is_empty() {
            if !default.is_object() {
                bail!("{} has no comment", names.join("."));
            }
            continue;
        }
        found.push(Entry {
            path: names.join("."),
            default: default.clone(),
            meaning: comment.join(" "),
        });
        comment.clear();
        leaf = Some(indent);
    }
    Ok(found)
}

/// A README whose table is replaced by the table of these values.
///
/// # Errors
/// When it has no place for a table, or [`entries`] has an error.
pub fn with_table(readme: &str, values: &str) -> Result<String> {
    let place = "the README has no place for the table of values";
    let (head, rest) = readme.split_once(MARKS.0).context(place)?;
    let (_, tail) = rest.split_once(MARKS.1).context(place)?;
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for Entry {
        path,
        default,
        meaning,
    } in entries(values)?
    {
        let row = [format!("`{path}`"), format!("`{default}`"), meaning];
        let row = row.map(|cell| cell.replace('|', "\\|")).join(" | ");
        writeln!(table, "| {row} |")?;
    }
    Ok(format!("{head}{}{table}{}{tail}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# The file.\n\n# A name.\nname: \"\"\ngroup:\n  # Labels, by default\n  # one.\n  labels:\n    # Not a value.\n    a/b: \"c:d\"\n  inner:\n    # A number.\n    port: 1\n# A list.\nlist:\n  - x: 1\n";

    #[test]
    fn values_have_path_default_and_comment() {
        let entry = |path: &str, default: Value, meaning: &str| Entry {
            path: path.to_owned(),
            default,
            meaning: meaning.to_owned(),
        };
        let expected = [
            entry("name", json!(""), "A name."),
            entry(
                "group.labels",
                json!({ "a/b": "c:d" }),
                "Labels, by default one.",
            ),
            entry("group.inner.port", json!(1), "A number."),
            entry("list", json!([{ "x": 1 }]), "A list."),
        ];
        assert_eq!(entries(TEXT).unwrap(), expected);
    }

    #[test]
    fn value_without_comment_is_refused() {
        let error = entries("a:\n  b: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "a.b has no comment");
    }

    #[test]
    fn table_replaces_the_one_before() {
        let readme = format!("head\n{}old\n{}tail\n", MARKS.0, MARKS.1);
        let once = with_table(&readme, "# A or b: `a|b`.\nx: true\n").unwrap();
        assert!(
            once.contains("\n| `x` | `true` | A or b: `a\\|b`. |\n"),
            "{once}"
        );
        assert!(once.starts_with("head\n") && once.ends_with("\ntail\n"));
        assert!(!once.contains("old"));
        with_table("nothing", "").unwrap_err();
    }
}
