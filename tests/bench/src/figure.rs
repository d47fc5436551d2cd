//! A figure of the bench: samples of our program and of a peer with a unit, their median and spread.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A measured quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Name in tables, and the key in data.
    pub name: String,
    /// Unit; empty for a count.
    pub unit: String,
    /// Number of functions; absent for figures of one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<usize>,
    /// Our samples, in the order of measurement.
    pub ours: Vec<f64>,
    /// The samples of a peer in the same run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<f64>,
    /// The samples of the floor in the same run: the requests that the kernel needs, and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floor: Vec<f64>,
}

/// Position of the floor behind our program and the peer.
pub const FLOOR: usize = 2;

impl Figure {
    /// A figure with one sample.
    pub fn one(name: &str, unit: &str, value: f64) -> Self {
        Self::of(name, unit, vec![value])
    }

    /// A figure with a count.
    pub fn count(name: &str, value: usize) -> Self {
        Self::one(name, "", number(value))
    }

    /// A figure with samples.
    pub fn of(name: &str, unit: &str, ours: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            functions: None,
            ours,
            peer: Vec::new(),
            floor: Vec::new(),
        }
    }

    /// Adds a sample of the program at a position: ours is the first, the peer the second, the floor the third.
    pub fn put(&mut self, position: usize, value: f64) {
        match position {
            0 => self.ours.push(value),
            FLOOR => self.floor.push(value),
            _ => self.peer.push(value),
        }
    }

    /// The median of our samples.
    pub fn median(&self) -> Option<f64> {
        quantile(&self.ours, 0.5)
    }

    /// The ratio of our median to the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.ratio_to(&self.peer)
    }

    /// The ratio of our median to that of other samples.
    pub fn ratio_to(&self, others: &[f64]) -> Option<f64> {
        let other = quantile(others, 0.5).filter(|other| *other != 0.0)?;
        self.median().map(|ours| ours / other)
    }
}

/// Adds the samples of a peer's figures to our figures with the same names.
pub fn beside(mut ours: Vec<Figure>, peer: Vec<Figure>) -> Vec<Figure> {
    for theirs in peer {
        let mut same = ours.iter_mut();
        let same = same.find(|own| own.name == theirs.name && own.functions == theirs.functions);
        if let Some(own) = same {
            own.peer = theirs.ours;
        }
    }
    ours
}

/// The quantile of the samples: `share` of them are below it.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position among at most some thousand samples"
)]
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((number(last) * share).round() as usize).copied()
}

/// A count as a floating-point number.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A value with a readable number of digits.
pub fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// Prints a figure for the program that started the node.
pub fn tell(figure: &Figure) -> Result<()> {
    println!("{}", serde_json::to_string(figure)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_a_sample() {
        let samples = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(quantile(&samples, 0.5), Some(3.0));
        assert_eq!(quantile(&samples, 1.0), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn small_value_keeps_a_digit() {
        let texts = [0.0, 0.001_937, 0.1, 8.68, 131.4].map(short);
        assert_eq!(texts, ["0", "0.0019", "0.10", "8.68", "131"]);
    }

    #[test]
    fn ratio_needs_a_peer_above_zero() {
        let mut figure = Figure::of("x", "ms", vec![1.0, 2.0, 3.0]);
        assert_eq!(figure.ratio(), None);
        figure.put(1, 8.0);
        assert_eq!(figure.ratio(), Some(0.25));
        figure.peer = vec![0.0];
        assert_eq!(figure.ratio(), None);
    }

    #[test]
    fn peer_figure_joins_ours_of_the_same_size() {
        let of = |functions, value| Figure {
            functions: Some(functions),
            ..Figure::one("x", "ms", value)
        };
        let both = beside(vec![of(7, 1.0), of(112, 2.0)], vec![of(112, 8.0)]);
        assert_eq!((both[0].ratio(), both[1].ratio()), (None, Some(0.25)));
    }
}
