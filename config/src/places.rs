//! Positions of the values of a JSON text: line and column by path, the order of keys, and repeated keys.
//!
//! It reads only valid JSON, and does not interpret the values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A place in a text; both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

/// The positions of the values of a document; empty if there is no text.
#[derive(Debug, Default)]
pub(crate) struct Places {
    starts: BTreeMap<String, Position>,
    repeated: BTreeSet<String>,
}

/// `key` of the object at `path`.
pub(crate) fn member(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl Places {
    /// Reads a text that `serde_json` accepted: its nesting is bounded, and each value is complete.
    pub(crate) fn of(json: &str) -> Self {
        let mut places = Self::default();
        let mut scan = Scan {
            rest: json,
            position: Position { line: 1, column: 1 },
        };
        scan.value("", &mut places);
        places
    }

    /// Position of the value at `path`, or of the nearest enclosing value.
    pub(crate) fn nearest(&self, path: &str) -> Option<Position> {
        let mut path = path;
        loop {
            if let Some(position) = self.starts.get(path) {
                return Some(*position);
            }
            if path.is_empty() {
                return None;
            }
            path = path
                .rfind(['.', '['])
                .and_then(|end| path.get(..end))
                .unwrap_or("");
        }
    }

    /// Position of exactly the value at `path`.
    pub(crate) fn at(&self, path: &str) -> Option<Position> {
        self.starts.get(path).copied()
    }

    /// Whether the key at the end of `path` is repeated.
    pub(crate) fn is_repeated(&self, path: &str) -> bool {
        self.repeated.contains(path)
    }
}

struct Scan<'a> {
    rest: &'a str,
    position: Position,
}

impl<'a> Scan<'a> {
    fn value(&mut self, path: &str, places: &mut Places) {
        self.skip_space();
        places.starts.insert(path.to_owned(), self.position);
        match self.peek() {
            Some('{') => self.object(path, places),
            Some('[') => self.array(path, places),
            Some('"') => {
                self.string();
            }
            _ => {
                while self.peek().is_some_and(|c| !",]} \t\r\n".contains(c)) {
                    self.next();
                }
            }
        }
    }

    fn object(&mut self, path: &str, places: &mut Places) {
        let mut keys = BTreeSet::new();
        while matches!(self.next(), Some('{' | ',')) {
            self.skip_space();
            if self.peek() != Some('"') {
                break;
            }
            let key: String = serde_json::from_str(self.string()).unwrap_or_default();
            self.skip_space();
            self.next();
            let path = member(path, &key);
            if !keys.insert(key) {
                places.repeated.insert(path.clone());
            }
            self.value(&path, places);
            self.skip_space();
        }
        // The closing bracket of an empty object is still unread.
        if self.peek() == Some('}') && keys.is_empty() {
            self.next();
        }
    }

    fn array(&mut self, path: &str, places: &mut Places) {
        let mut count = 0;
        while matches!(self.next(), Some('[' | ',')) {
            self.skip_space();
            if self.peek() == Some(']') {
                self.next();
                break;
            }
            self.value(&format!("{path}[{count}]"), places);
            count += 1;
            self.skip_space();
        }
    }

    /// The string here with its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.rest;
        self.next();
        loop {
            match self.next() {
                Some('\\') => {
                    self.next();
                }
                Some('"') | None => break,
                Some(_) => {}
            }
        }
        let length = start.len() - self.rest.len();
        start.get(..length).unwrap_or(start)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| " \t\r\n".contains(c)) {
            self.next();
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn each_value_has_its_line_and_column() {
        let places = Places::of(
            "{\n  \"a\": [1, {\"b\\\"\": \"ü\", \"c\": true}],\n  \"d\": {}, \"e\": [],\n  \"a\": null }",
        );
        for (path, line, column) in [
            ("", 1, 1),
            ("a[0]", 2, 9),
            ("a[1]", 2, 12),
            ("a[1].b\"", 2, 20),
            ("a[1].c", 2, 30),
            ("d", 3, 8),
            ("e", 3, 17),
            ("a", 4, 8),
        ] {
            assert_eq!(places.at(path), Some(Position { line, column }), "{path}");
        }
        assert!(places.is_repeated("a") && !places.is_repeated("d"));
        assert_eq!(places.nearest("d.f[3].g"), places.at("d"));
        assert_eq!(Places::default().nearest("a"), None);
    }

    /// The paths of a value, by the same spelling.
    fn paths(path: &str, value: &Value, all: &mut Vec<String>) {
        all.push(path.to_owned());
        match value {
            Value::Object(object) => object
                .iter()
                .for_each(|(key, value)| paths(&member(path, key), value, all)),
            Value::Array(items) => (0..)
                .zip(items)
                .for_each(|(index, item)| paths(&format!("{path}[{index}]"), item, all)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\]{1,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_found_where_it_is(value in any_value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let places = Places::of(&text);
            let mut expected = Vec::new();
            paths("", &value, &mut expected);
            expected.sort();
            expected.dedup();
            let found: Vec<String> = places.starts.keys().cloned().collect();
            prop_assert_eq!(found, expected);
            for position in places.starts.values() {
                let line = text.lines().nth(position.line - 1).unwrap();
                let here = line.chars().nth(position.column - 1).unwrap();
                let is_start = !here.is_whitespace() && !"]},:".contains(here);
                prop_assert!(is_start, "{} {}", text, position);
            }
        }
    }
}
