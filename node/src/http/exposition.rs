//! Prometheus' text format 0.0.4: families with their samples.
//!
//! Format: `prometheus/docs`, `content/docs/instrumenting/exposition_formats.md`.

use std::fmt::{self, Write};

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// A family of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// One sentence for its users.
    pub help: &'static str,
}

/// The text as it grows.
#[derive(Clone, Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, family: &Family) {
        let Family { name, kind, help } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.0.push_str(name);
        for (position, (label, value)) in labels.iter().enumerate() {
            self.0.push(if position == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String never fails.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.family(&Family {
            name: "n",
            kind: Kind::Gauge,
            help: "One sentence.",
        });
        text.sample("n", &[], 1);
        text.sample("n", &[("a", "x\"\\\n"), ("b", "")], 0.5);
        assert_eq!(
            text.into_string(),
            "# HELP n One sentence.\n# TYPE n gauge\nn 1\nn{a=\"x\\\"\\\\\\n\",b=\"\"} 0.5\n"
        );
    }
}
