//! Draws the plots of a report as SVG: the growth of each figure with the number of functions, and the times of the CNI plugin.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::figure::{Figure, number, quantile};
use crate::report::Report;

const SIZE: (u32, u32) = (900, 520);
const FONT: (&str, i32) = ("sans-serif", 14);
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0x7f, 0x7f, 0x7f),
];

/// File names and contents.
pub fn all(report: &Report) -> Result<Vec<(String, String)>> {
    let mut plots = Vec::new();
    for section in &report.sections {
        let growing = |unit: &str| -> Vec<&Figure> {
            let figures = section.figures.iter();
            figures
                .filter(|figure| figure.functions.is_some() && figure.unit == unit)
                .filter(|figure| !figure.name.contains("idle"))
                .collect()
        };
        for (unit, title) in [("ms", "time"), ("KiB", "memory")] {
            let figures = growing(unit);
            if !figures.is_empty() {
                let name = format!("{}-{title}.svg", section.part);
                plots.push((name, growth(&figures, unit)?));
            }
        }
        let walls: Vec<&Figure> = section
            .figures
            .iter()
            .filter(|figure| figure.functions.is_none() && figure.unit == "ms")
            .filter(|figure| !figure.name.ends_with("(CPU)"))
            .collect();
        if !walls.is_empty() {
            plots.push((format!("{}.svg", section.part), bars(&walls)?));
        }
    }
    Ok(plots)
}

/// Draws lines over the number of functions with logarithmic axes: linear growth is a diagonal; a peer's lines are thin.
fn growth(figures: &[&Figure], unit: &str) -> Result<String> {
    let mut lines: BTreeMap<(String, bool), Vec<(f64, f64)>> = BTreeMap::new();
    for figure in figures {
        let functions = number(figure.functions.unwrap_or_default());
        for (samples, is_peer) in [(&figure.ours, false), (&figure.peer, true)] {
            let median = quantile(samples, 0.5).filter(|value| *value > 0.0);
            let line = lines.entry((figure.name.clone(), is_peer)).or_default();
            line.extend(median.map(|value| (functions, value)));
        }
    }
    lines.retain(|_, points| !points.is_empty());
    let points = || lines.values().flatten();
    let (x0, x1) = ends(points().map(|point| point.0));
    let (y0, y1) = ends(points().map(|point| point.1));
    draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d((x0..x1 * 1.1).log_scale(), (y0 / 2.0..y1 * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("functions")
            .y_desc(unit)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .light_line_style(TRANSPARENT)
            .draw()?;
        let mut names: Vec<&String> = lines.keys().map(|(name, _)| name).collect();
        names.dedup();
        for ((name, is_peer), points) in &lines {
            let position = names
                .iter()
                .position(|other| *other == name)
                .unwrap_or_default();
            let colour = COLOURS.iter().cycle().nth(position).unwrap_or(&BLACK);
            let style = colour.stroke_width(if *is_peer { 1 } else { 3 });
            let label = if *is_peer {
                format!("{name}, peer")
            } else {
                name.clone()
            };
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
                .label(label)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .label_font(FONT)
            .draw()?;
        Ok(())
    })
}

/// Draws one bar for each figure with its spread as a line, and the peer's bar below it.
fn bars(figures: &[&Figure]) -> Result<String> {
    let rows: Vec<(String, &[f64], bool)> = figures
        .iter()
        .flat_map(|figure| {
            let name = figure.name.trim_end_matches(" (wall)");
            let ours = Some((name.to_owned(), figure.ours.as_slice(), false));
            let peer = (format!("{name}, peer"), figure.peer.as_slice(), true);
            ours.into_iter().chain((!peer.1.is_empty()).then_some(peer))
        })
        .collect();
    let most = rows
        .iter()
        .filter_map(|(_, samples, _)| quantile(samples, 0.9));
    let most = most.fold(1.0, f64::max) * 1.1;
    let count = rows.len();
    let height = 60 + 24 * u32::try_from(count)?;
    draw((SIZE.0, height), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(40)
            .build_cartesian_2d(0.0..most * 2.5, 0.0..number(count))?;
        // The names have more than the left half, so that no font must be measured.
        let at = |value: f64| value + most * 1.5;
        for (row, (name, samples, is_peer)) in rows.iter().enumerate() {
            let middle = number(count - row) - 0.5;
            let colour = COLOURS.get(usize::from(*is_peer)).unwrap_or(&BLACK);
            let value = |share| quantile(samples, share).unwrap_or_default();
            let bar = [(at(0.0), middle - 0.35), (at(value(0.5)), middle + 0.35)];
            chart.draw_series([Rectangle::new(bar, colour.mix(0.7).filled())])?;
            let spread = vec![(at(value(0.1)), middle), (at(value(0.9)), middle)];
            chart.draw_series([PathElement::new(spread, BLACK)])?;
            let label = format!("{name}: {:.1} ms", value(0.5));
            chart.draw_series([Text::new(label, (0.0, middle + 0.25), FONT)])?;
        }
        Ok(())
    })
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), value| {
        (value.min(least), value.max(most))
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let done = area
        .fill(&WHITE)
        .map_err(Into::into)
        .and_then(|()| draw(&area));
    done.and_then(|()| area.present().map_err(Into::into))
        .map_err(|error: Box<dyn std::error::Error>| anyhow!("cannot draw: {error}"))?;
    drop(area);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Section;

    #[test]
    fn growth_is_a_line_and_time_a_bar() {
        let of = |name: &str, unit: &str, functions, value| Figure {
            functions: Some(functions),
            ..Figure::one(name, unit, value)
        };
        let mut add = Figure::of("ADD (wall)", "ms", vec![1.0, 2.0, 3.0]);
        add.put(1, 9.0);
        let report = Report {
            machine: String::new(),
            sections: vec![Section {
                part: "cni",
                command: String::new(),
                figures: vec![
                    add,
                    of("rescan", "ms", 7, 1.0),
                    of("rescan", "ms", 512, 60.0),
                    of("peak memory", "KiB", 7, 6000.0),
                ],
            }],
        };
        let plots = all(&report).unwrap();
        let names: Vec<_> = plots.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cni-time.svg", "cni-memory.svg", "cni.svg"]);
        for (name, words) in [
            ("cni-time.svg", vec!["rescan", "functions", "<polyline"]),
            ("cni-memory.svg", vec!["peak memory", "KiB"]),
            ("cni.svg", vec!["ADD: 2.0 ms", "ADD, peer: 9.0 ms", "<rect"]),
        ] {
            let (_, text) = plots.iter().find(|(other, _)| other == name).unwrap();
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
            for word in words {
                assert!(text.contains(word), "{name} has no {word}");
            }
        }
    }
}
