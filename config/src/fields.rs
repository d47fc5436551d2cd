//! Reads the fields of a JSON object as Go's `encoding/json` does, and notes every mistake with its path.
//!
//! Keys match in any case, the last of several wins, `null` is absence.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::Finding;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) mistakes: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn mistake(&mut self, path: &str, message: impl Into<String>) {
        self.mistakes.push(Finding {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    pub(crate) fn warning(&mut self, path: &str, message: impl Into<String>) {
        self.warnings.push(Finding {
            path: path.to_owned(),
            message: message.into(),
        });
    }
}

/// One object of the document.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object at `path`, or a mistake.
    pub(crate) fn of(value: &'a Value, path: &str, findings: &mut Findings) -> Option<Self> {
        if let Value::Object(object) = value {
            return Some(Self {
                path: path.to_owned(),
                object,
            });
        }
        findings.mistake(
            if path.is_empty() { "document" } else { path },
            format!("`{value}` is not an object"),
        );
        None
    }

    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// All keys with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.object.iter()
    }

    /// The value of a key, whatever its type.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        let found = self
            .object
            .iter()
            .rfind(|(name, _)| name.eq_ignore_ascii_case(key));
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    pub(crate) fn object(&self, key: &str, findings: &mut Findings) -> Option<Fields<'a>> {
        Fields::of(self.value(key)?, &self.path(key), findings)
    }

    pub(crate) fn text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        let value = self.value(key)?;
        self.or_mistake(key, value.as_str(), value, "a string", findings)
    }

    pub(crate) fn flag(&self, key: &str, findings: &mut Findings) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        self.or_mistake(key, value.as_bool(), value, "true or false", findings)
            .unwrap_or(false)
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn number(
        &self,
        key: &str,
        min: u64,
        max: u64,
        findings: &mut Findings,
    ) -> Option<u64> {
        let value = self.value(key)?;
        let number = value.as_u64().filter(|number| (min..=max).contains(number));
        self.or_mistake(
            key,
            number,
            value,
            &format!("a whole number from {min} to {max}"),
            findings,
        )
    }

    /// A string that `T` can read.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.text(key, findings)?;
        text.parse()
            .map_err(|error: T::Err| findings.mistake(&self.path(key), error.to_string()))
            .ok()
    }

    /// A list of strings, each with its path.
    pub(crate) fn texts(&self, key: &str, findings: &mut Findings) -> Vec<(String, &'a str)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) =
            self.or_mistake(key, value.as_array(), value, "a list of strings", findings)
        else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let path = format!("{}[{position}]", self.path(key));
            match item.as_str() {
                Some(text) => texts.push((path, text)),
                None => findings.mistake(&path, format!("`{item}` is not a string")),
            }
        }
        texts
    }

    /// A list of strings that `T` can read.
    pub(crate) fn all_parsed<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        findings: &mut Findings,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (path, text) in self.texts(key, findings) {
            match text.parse::<T>() {
                Ok(value) => all.push(value),
                Err(error) => findings.mistake(&path, error.to_string()),
            }
        }
        all
    }

    /// Warns of each key that is none of `known`, and names the nearest.
    pub(crate) fn warn_unknown(&self, known: &[&str], findings: &mut Findings) {
        for key in self.object.keys() {
            if known.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|known| (distance(key, known), known))
                .min();
            let hint = match nearest {
                Some((edits, known)) if edits <= 3 => format!(": did you mean `{known}`?"),
                Some(_) | None => String::new(),
            };
            findings.warning(
                &self.path(key),
                format!("unknown key, it has no effect{hint}"),
            );
        }
    }

    fn or_mistake<T>(
        &self,
        key: &str,
        read: Option<T>,
        value: &Value,
        wanted: &str,
        findings: &mut Findings,
    ) -> Option<T> {
        if read.is_none() {
            findings.mistake(&self.path(key), format!("`{value}` is not {wanted}"));
        }
        read
    }
}

/// Number of single-letter edits between two keys, in any case (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            let best = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            (diagonal, left, *cell) = (above, best, best);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_in_any_case_and_the_last_wins() {
        let value: Value = serde_json::from_str(r#"{"vlan": 1, "vlan": 3}"#).unwrap();
        let fields = Fields::of(&value, "", &mut Findings::default()).unwrap();
        assert_eq!(
            fields.number("VLAN", 0, 4094, &mut Findings::default()),
            Some(3)
        );
        let value: Value = serde_json::from_str(r#"{"ISRDMA": true}"#).unwrap();
        assert!(
            Fields::of(&value, "", &mut Findings::default())
                .unwrap()
                .flag("isRdma", &mut Findings::default())
        );
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("pfName", "pfNames", 1),
            ("vendor", "VENDORS", 1),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
