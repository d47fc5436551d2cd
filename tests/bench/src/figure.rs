//! A figure of the bench: samples with a unit, ours and a peer's, their median and spread.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Something that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// In what; nothing for a count.
    pub unit: String,
    /// With how many functions, where that was varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<usize>,
    /// Ours, in the order of their taking.
    pub ours: Vec<f64>,
    /// The same of a peer, in the same run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<f64>,
}

impl Figure {
    /// One value.
    pub fn one(name: &str, unit: &str, value: f64) -> Self {
        Self::of(name, unit, vec![value])
    }

    /// A count.
    pub fn count(name: &str, value: usize) -> Self {
        Self::one(name, "", number(value))
    }

    /// Samples.
    pub fn of(name: &str, unit: &str, ours: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            functions: None,
            ours,
            peer: Vec::new(),
        }
    }

    /// Adds a sample of the program at a position: ours is the first.
    pub fn put(&mut self, position: usize, value: f64) {
        if position == 0 {
            self.ours.push(value);
        } else {
            self.peer.push(value);
        }
    }

    /// Ours in the median.
    pub fn median(&self) -> Option<f64> {
        quantile(&self.ours, 0.5)
    }

    /// Ours in the median, by the peer's.
    pub fn ratio(&self) -> Option<f64> {
        let peer = quantile(&self.peer, 0.5).filter(|peer| *peer != 0.0)?;
        self.median().map(|ours| ours / peer)
    }
}

/// Puts what was measured of a peer beside what was measured of ours, by name.
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

/// The value below which this share of the samples is.
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

/// A count as a number that can be divided.
pub fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A value as people read it.
pub fn short(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// A figure on its way from the node.
pub fn tell(figure: &Figure) -> Result<()> {
    println!("{}", serde_json::to_string(figure)?);
    Ok(())
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
    fn a_small_value_is_no_nothing() {
        let texts = [0.0, 0.001_937, 0.1, 8.68, 131.4].map(short);
        assert_eq!(texts, ["0", "0.0019", "0.10", "8.68", "131"]);
    }

    #[test]
    fn a_ratio_needs_a_peer_that_is_not_nothing() {
        let mut figure = Figure::of("x", "ms", vec![1.0, 2.0, 3.0]);
        assert_eq!(figure.ratio(), None);
        figure.put(1, 8.0);
        assert_eq!(figure.ratio(), Some(0.25));
        figure.peer = vec![0.0];
        assert_eq!(figure.ratio(), None);
    }

    #[test]
    fn a_peers_figure_goes_beside_ours_of_the_same_size() {
        let of = |functions, value| Figure {
            functions: Some(functions),
            ..Figure::one("x", "ms", value)
        };
        let both = beside(vec![of(7, 1.0), of(112, 2.0)], vec![of(112, 8.0)]);
        assert_eq!((both[0].ratio(), both[1].ratio()), (None, Some(0.25)));
    }
}
