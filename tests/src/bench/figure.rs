//! A figure of the bench: samples with a unit, their median and spread, and the table of all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// In what.
    pub unit: String,
    /// Ours, in the order of their taking.
    pub ours: Vec<f64>,
    /// The same of a peer, in the same run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<f64>,
}

/// All figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where they were taken.
    pub machine: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl Figure {
    /// One value.
    pub fn one(name: &str, unit: &str, value: f64) -> Self {
        Self::of(name, unit, vec![value])
    }

    /// Samples.
    pub fn of(name: &str, unit: &str, ours: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            ours,
            peer: Vec::new(),
        }
    }

    /// Ours in the median, by the peer's.
    pub fn ratio(&self) -> Option<f64> {
        let peer = quantile(&self.peer, 0.5)?;
        quantile(&self.ours, 0.5).map(|ours| ours / peer)
    }
}

/// The value below which this share of the samples is.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position among at most some thousand samples"
)]
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(
            f,
            "| figure | median | 10 % | 90 % | unit | peer | ratio |\n|---|---|---|---|---|---|---|"
        )?;
        for figure in &self.figures {
            let at =
                |samples: &[f64], share| quantile(samples, share).map_or_else(String::new, short);
            let ours = &figure.ours;
            let is_one = ours.len() == 1;
            let spread = |share| {
                if is_one {
                    String::new()
                } else {
                    at(ours, share)
                }
            };
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} |",
                figure.name,
                at(ours, 0.5),
                spread(0.1),
                spread(0.9),
                figure.unit,
                at(&figure.peer, 0.5),
                figure.ratio().map_or_else(String::new, short),
            )?;
        }
        Ok(())
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_sample() {
        let samples = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(quantile(&samples, 0.5), Some(3.0));
        assert_eq!(quantile(&samples, 1.0), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_ratio_needs_a_peer() {
        let mut figure = Figure::of("x", "ms", vec![1.0, 2.0, 3.0]);
        assert_eq!(figure.ratio(), None);
        figure.peer = vec![8.0];
        assert_eq!(figure.ratio(), Some(0.25));
    }
}
