//! Growth of a figure with the number of functions: the slope of a straight line through the logarithms.

use crate::figure::{Figure, number};

/// With fewer functions, the fixed cost of a process hides the cost of a function.
const FROM: usize = 512;

/// The exponent `k` of `functions^k`: 1 is linear, 0 is constant; absent without two sizes.
pub fn exponent<'a>(figures: impl Iterator<Item = &'a Figure>) -> Option<f64> {
    let points = figures.filter_map(|figure| {
        let functions = figure.functions.filter(|functions| *functions >= FROM)?;
        Some((number(functions), figure.median()?))
    });
    slope(&points.collect::<Vec<_>>())
}

/// The slope by least squares.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let points: Vec<_> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let count = number(points.len());
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along = points
        .iter()
        .map(|point| (point.0 - x).powi(2))
        .sum::<f64>();
    let both = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    (points.len() > 1 && along > 0.0).then(|| both.sum::<f64>() / along)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_law_gives_its_exponent() {
        for exponent in [0.0, 1.0, 2.0] {
            let points = [512.0, 2048.0, 8192.0].map(|x: f64| (x, 3.0 * x.powf(exponent)));
            let found = slope(&points).unwrap();
            assert!((found - exponent).abs() < 1e-9, "{found}");
        }
        assert_eq!(slope(&[(512.0, 1.0)]), None);
        assert_eq!(slope(&[(512.0, 1.0), (512.0, 2.0)]), None);
        assert_eq!(slope(&[(512.0, 0.0), (2048.0, 2.0)]), None);
    }

    #[test]
    fn small_machines_are_left_out_of_the_slope() {
        let of = |functions, value| Figure {
            functions: Some(functions),
            ..Figure::one("x", "ms", value)
        };
        let figures = [of(7, 99.0), of(512, 1.0), of(2048, 4.0)];
        let found = exponent(figures.iter()).unwrap();
        assert!((found - 1.0).abs() < 1e-9, "{found}");
    }
}
