//! Reads the fields of a JSON object as Go's `encoding/json` does, and collects every mistake with its path.
//!
//! Keys match in any case, the last of several applies, and `null` means absent.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value;

use crate::Finding;
use crate::places::{Places, member};

/// Mistakes and warnings so far, and the position of each value if it is known.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) places: Places,
    pub(crate) mistakes: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn mistake(&mut self, path: &str, message: impl Into<String>) {
        let finding = self.finding(path, message);
        self.mistakes.push(finding);
    }

    pub(crate) fn warning(&mut self, path: &str, message: impl Into<String>) {
        let finding = self.finding(path, message);
        self.warnings.push(finding);
    }

    fn finding(&self, path: &str, message: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            position: self.places.nearest(path),
            message: message.into(),
        }
    }
}

/// One object of the document.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    /// In the order of the document if positions are known, otherwise sorted by key.
    entries: Vec<(&'a String, &'a Value)>,
}

impl<'a> Fields<'a> {
    /// Reads the object at `path`; anything else is a mistake.
    pub(crate) fn of(value: &'a Value, path: &str, findings: &mut Findings) -> Option<Self> {
        let fields = Self::read(value, path, findings);
        if fields.is_none() {
            let path = if path.is_empty() { "document" } else { path };
            findings.mistake(path, format!("`{value}` is not an object"));
        }
        fields
    }

    /// Reads an object that may contain a secret: no message contains its value.
    pub(crate) fn of_secret(value: &'a Value, path: &str, findings: &mut Findings) -> Option<Self> {
        let fields = Self::read(value, path, findings);
        if fields.is_none() {
            findings.mistake(path, "this is not an object");
        }
        fields
    }

    fn read(value: &'a Value, path: &str, findings: &Findings) -> Option<Self> {
        let Value::Object(object) = value else {
            return None;
        };
        let mut entries: Vec<_> = object.iter().collect();
        entries.sort_by_key(|(key, _)| findings.places.at(&member(path, key)));
        Some(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// Path of a key, as the document spells it.
    pub(crate) fn path(&self, key: &str) -> String {
        member(&self.path, self.entry(key).map_or(key, |(name, _)| name))
    }

    /// All keys with their values and paths; keys that differ in case are different keys here.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value, String)> {
        self.entries
            .iter()
            .map(|(key, value)| (*key, *value, member(&self.path, key)))
    }

    fn entry(&self, key: &str) -> Option<(&'a String, &'a Value)> {
        let mut entries = self.entries.iter();
        entries
            .rfind(|(name, _)| name.eq_ignore_ascii_case(key))
            .copied()
    }

    /// Whether the document has the key, also with `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The value of a key, whatever its type.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.entry(key)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    pub(crate) fn object(&self, key: &str, findings: &mut Findings) -> Option<Fields<'a>> {
        Fields::of(self.value(key)?, &self.path(key), findings)
    }

    pub(crate) fn text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        let value = self.value(key)?;
        self.or_mistake(key, value.as_str(), value, A_STRING, findings)
    }

    /// Reads one of a few words; an absent or empty text gives the default, and another word is a mistake and gives nothing.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &str,
        default: T,
        words: &[(&str, T)],
        findings: &mut Findings,
    ) -> Option<T> {
        let Some(text) = self.text(key, findings).filter(|text| !text.is_empty()) else {
            return Some(default);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{text}` is not one of {}", known.join(", "));
            findings.mistake(&self.path(key), message);
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn flag(&self, key: &str, findings: &mut Findings) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        self.or_mistake(key, value.as_bool(), value, A_FLAG, findings)
            .unwrap_or(false)
    }

    /// Reads a whole number from `min` to `max`.
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
            &format!("{A_NUMBER} from {min} to {max}"),
            findings,
        )
    }

    /// Reads a string and parses it as `T`.
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

    /// Reads a list of strings, each with its path.
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
            if let Some(text) = item.as_str() {
                texts.push((path, text));
            } else {
                let quotes = quotes(item, A_STRING);
                findings.mistake(&path, format!("`{item}` is not {A_STRING}{quotes}"));
            }
        }
        texts
    }

    /// Reads a list of strings and parses each as `T`.
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

    /// Warns of each key that is not one of `known`, with a hint, and of each repeated key.
    pub(crate) fn warn_unknown(
        &self,
        known: &[&str],
        hint: impl Fn(&str) -> Hint,
        findings: &mut Findings,
    ) {
        let mut seen: Vec<&str> = Vec::new();
        for (key, value, path) in self.entries() {
            let is_again = seen.iter().any(|seen| seen.eq_ignore_ascii_case(key));
            if is_again || findings.places.is_repeated(&path) {
                findings.warning(&path, "this key is repeated, the last one applies");
            }
            seen.push(key);
            // `null` means absent.
            if value.is_null() || known.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                continue;
            }
            let message = match hint(key) {
                Hint::Ignore => continue,
                Hint::None => "unknown key, it has no effect".to_owned(),
                Hint::Nearest(known) => {
                    format!("unknown key, it has no effect: did you mean `{known}`?")
                }
                Hint::Instead(text) => format!("unknown key, it has no effect: {text}"),
                Hint::Elsewhere(place) => {
                    format!("it has no effect here: it belongs into {place}")
                }
            };
            findings.warning(&path, message);
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
            let quotes = quotes(value, wanted);
            findings.mistake(
                &self.path(key),
                format!("`{value}` is not {wanted}{quotes}"),
            );
        }
        read
    }
}

/// Advice about quotes for a value of the wrong type: in YAML they decide the type.
fn quotes(value: &Value, wanted: &str) -> &'static str {
    let lacks_quotes = wanted == A_STRING && (value.is_boolean() || value.is_number());
    let is_quoted = value.as_str().is_some_and(|text| {
        let is_flag = matches!(text, "true" | "false");
        let is_number = text.parse::<u64>().is_ok();
        (wanted == A_FLAG && is_flag) || (wanted.starts_with(A_NUMBER) && is_number)
    });
    match (lacks_quotes, is_quoted) {
        (true, _) => ": write it in quotes",
        (false, true) => ": write it without quotes",
        (false, false) => "",
    }
}

const A_STRING: &str = "a string";
const A_FLAG: &str = "true or false";
const A_NUMBER: &str = "a whole number";

/// Advice about an unknown key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// No warning.
    Ignore,
    /// The key has no effect.
    None,
    /// The key that was probably meant.
    Nearest(&'static str),
    /// The alternative to the key.
    Instead(&'static str),
    /// The place where the key has an effect.
    Elsewhere(&'static str),
}

/// Finds the known key that differs from `text` by at most `most` edits; `_` and `-` do not count.
pub(crate) fn nearest_within(
    text: &str,
    known: &[&'static str],
    most: usize,
) -> Option<&'static str> {
    let distance = |known: &&'static str| {
        let plain = |text: &str| text.replace(['_', '-'], "");
        distance(text, known).min(distance(&plain(text), &plain(known)))
    };
    let nearest = known.iter().map(|known| (distance(known), *known));
    nearest
        .min()
        .filter(|(edits, _)| *edits <= most)
        .map(|(_, known)| known)
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
    fn keys_match_in_any_case_and_the_last_applies() {
        let value: Value = serde_json::from_str(r#"{"vlan": 1, "vlan": 3}"#).unwrap();
        let fields = Fields::of(&value, "", &mut Findings::default()).unwrap();
        assert_eq!(
            fields.number("VLAN", 0, 4094, &mut Findings::default()),
            Some(3)
        );
        let text = r#"{"Vlan": 1, "VLAN": 2, "vlan": 3, "vLAN": 4}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let mut findings = Findings {
            places: Places::of(text),
            ..Findings::default()
        };
        let fields = Fields::of(&value, "", &mut findings).unwrap();
        assert_eq!(fields.number("vlan", 0, 4094, &mut findings), Some(4));
        assert_eq!(fields.path("vlan"), "vLAN");
        fields.warn_unknown(&["vlan"], |_| Hint::None, &mut findings);
        assert_eq!(findings.warnings.len(), 3);
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
