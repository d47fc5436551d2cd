//! Prometheus' text format 0.0.4: families with their samples.
//!
//! Format: `prometheus/docs`, `content/docs/instrumenting/exposition_formats.md`.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::counts::{BUCKETS, Histogram};

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

impl Family {
    /// A family that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Counter;
        Self { name, kind, help }
    }

    /// A family that grows and shrinks.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Gauge;
        Self { name, kind, help }
    }

    /// A family of durations.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Histogram;
        Self { name, kind, help }
    }
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

    /// A family with one sample, or none while its value is not known.
    pub fn single(&mut self, family: &Family, value: Option<impl fmt::Display>) {
        self.family(family);
        if let Some(value) = value {
            self.sample(family.name, &[], value);
        }
    }

    /// The samples of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut sum = 0;
        for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
            sum += count;
            let bound = Duration::from_micros(*bound).as_secs_f64().to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.sample(&bucket, &labels, sum);
        }
        let labels_of_all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&bucket, &labels_of_all, histogram.count);
        self.sample(&format!("{name}_sum"), labels, histogram.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, histogram.count);
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
    fn buckets_are_cumulative() {
        let (mut text, mut histogram) = (Text::default(), Histogram::default());
        histogram.observe(Duration::from_micros(300));
        histogram.observe(Duration::from_secs(2));
        text.histogram("h", &[("a", "b")], &histogram);
        let text = text.into_string();
        for (bound, count) in [("0.00025", 0), ("0.0005", 1), ("1", 1), ("+Inf", 2)] {
            let line = format!("h_bucket{{a=\"b\",le=\"{bound}\"}} {count}");
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(
            text.ends_with("h_sum{a=\"b\"} 2.0003\nh_count{a=\"b\"} 2\n"),
            "{text}"
        );
    }

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
