//! Formats a report: one table per section with the command that repeats it, printed or written into `docs/benchmarks.md`.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figure::{Figure, quantile, short};
use crate::growth;

/// All figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine, in one line.
    pub machine: String,
    /// The sections, one for each command.
    pub sections: Vec<Section>,
}

/// The figures of one command.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its name in `--only` and in the document.
    pub part: &'static str,
    /// The command.
    pub command: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Writes each section between its marks in a document.
    ///
    /// # Errors
    /// If the document lacks the marks.
    pub fn into_document(&self, document: &str) -> Result<String> {
        let mut text = document.to_owned();
        for section in &self.sections {
            let marks = [
                format!("<!-- {} -->\n", section.part),
                format!("<!-- /{} -->\n", section.part),
            ];
            let [begin, end] = &marks;
            let (before, rest) = text
                .split_once(begin.as_str())
                .with_context(|| format!("the document has no mark `{}`", begin.trim()))?;
            let (_, after) = rest
                .split_once(end.as_str())
                .with_context(|| format!("the document has no mark `{}`", end.trim()))?;
            text = format!("{before}{begin}{}\n\n{section}{end}{after}", self.machine);
        }
        Ok(text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        self.sections
            .iter()
            .try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`", self.command)?;
        let (growing, single): (Vec<_>, Vec<_>) = self
            .figures
            .iter()
            .partition(|figure| figure.functions.is_some());
        if !single.is_empty() {
            write_single(f, &single)?;
        }
        if !growing.is_empty() {
            write_growing(f, &growing)?;
        }
        Ok(())
    }
}

/// The samples of another program, and its heads in the table.
type Other = (fn(&Figure) -> &Vec<f64>, &'static str);

fn write_single(f: &mut fmt::Formatter<'_>, figures: &[&Figure]) -> fmt::Result {
    let all: [Other; 2] = [
        (|figure| &figure.floor, " floor | ratio to it |"),
        (|figure| &figure.peer, " peer | ratio |"),
    ];
    let has_samples =
        |(samples, _): &&Other| figures.iter().any(|figure| !samples(figure).is_empty());
    let others: Vec<&Other> = all.iter().filter(has_samples).collect();
    let heads: String = others.iter().map(|(_, head)| *head).collect();
    writeln!(f, "\n| figure | median | 10 % | 90 % | unit |{heads}")?;
    writeln!(
        f,
        "|---|---|---|---|---|{}",
        "---|---|".repeat(others.len())
    )?;
    for figure in figures {
        let ours = |share| quantile(&figure.ours, share).map_or_else(String::new, short);
        let is_one = figure.ours.len() == 1;
        let spread = |share| if is_one { String::new() } else { ours(share) };
        write!(
            f,
            "| {} | {} | {} | {} | {} |",
            figure.name,
            ours(0.5),
            spread(0.1),
            spread(0.9),
            figure.unit
        )?;
        for (samples, _) in &others {
            let other = quantile(samples(figure), 0.5).map_or_else(String::new, short);
            let ratio = figure.ratio_to(samples(figure));
            write!(f, " {other} | {} |", ratio.map_or_else(String::new, short))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// One row for each figure, one column for each size, and the exponent of the growth.
fn write_growing(f: &mut fmt::Formatter<'_>, figures: &[&Figure]) -> fmt::Result {
    let sizes: BTreeSet<usize> = figures
        .iter()
        .filter_map(|figure| figure.functions)
        .collect();
    let row = |cells: Vec<String>| cells.join(" | ");
    let heads = row(sizes.iter().map(usize::to_string).collect());
    writeln!(f, "\n| figure, by functions | unit | {heads} | grows as |")?;
    writeln!(f, "|---|---|{}---|", "---|".repeat(sizes.len()))?;
    for name in names(figures) {
        let of_name: Vec<&Figure> = figures
            .iter()
            .filter(|figure| figure.name == name)
            .copied()
            .collect();
        let at = |size: &usize| {
            let mut found = of_name.iter();
            found.find(|figure| figure.functions == Some(*size))
        };
        let cells = row(sizes.iter().map(|size| cell(at(size).copied())).collect());
        let unit = of_name.first().map_or("", |figure| figure.unit.as_str());
        let exponent = growth::exponent(of_name.iter().copied());
        let exponent = exponent.map_or_else(String::new, |exponent| format!("n^{exponent:.2}"));
        writeln!(f, "| {name} | {unit} | {cells} | {exponent} |")?;
        if of_name.iter().any(|figure| !figure.peer.is_empty()) {
            let cells = sizes.iter().map(|size| peer_cell(at(size).copied()));
            let cells = row(cells.collect());
            writeln!(
                f,
                "| {name}, the peer's and the ratio | {unit} | {cells} | |"
            )?;
        }
    }
    Ok(())
}

fn names(figures: &[&Figure]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for figure in figures {
        if !names.contains(&figure.name) {
            names.push(figure.name.clone());
        }
    }
    names
}

/// The median, with the spread of two or more samples.
fn cell(figure: Option<&Figure>) -> String {
    let Some((figure, median)) = figure.and_then(|figure| Some((figure, figure.median()?))) else {
        return String::new();
    };
    let at = |share| quantile(&figure.ours, share).map_or_else(String::new, short);
    if figure.ours.len() == 1 {
        short(median)
    } else {
        format!("{} ({} to {})", short(median), at(0.1), at(0.9))
    }
}

/// The peer's median, and the ratio of ours to it.
fn peer_cell(figure: Option<&Figure>) -> String {
    let median = figure.and_then(|figure| quantile(&figure.peer, 0.5));
    let text = median.map_or_else(String::new, short);
    let ratio = figure.and_then(Figure::ratio).map(short);
    ratio.map_or(text.clone(), |ratio| format!("{text}; {ratio}"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::figure::FLOOR;

    fn report() -> Report {
        let of = |functions, ours: Vec<f64>| Figure {
            functions: Some(functions),
            ..Figure::of("rescan", "ms", ours)
        };
        let mut add = Figure::of("ADD", "ms", vec![1.0, 2.0, 3.0]);
        add.put(1, 8.0);
        add.put(FLOOR, 1.6);
        Report {
            machine: "a machine".to_owned(),
            sections: vec![Section {
                part: "cni",
                command: "cargo lab bench --only cni".to_owned(),
                figures: vec![
                    add,
                    Figure::count("ADD: fsyncs", 4),
                    of(512, vec![1.0, 2.0, 4.5]),
                    of(2048, vec![8.0]),
                ],
            }],
        }
    }

    #[test]
    fn report_has_tables_with_commands_ratios_and_growth() {
        expect![[r"
            a machine

            `cargo lab bench --only cni`

            | figure | median | 10 % | 90 % | unit | floor | ratio to it | peer | ratio |
            |---|---|---|---|---|---|---|---|---|
            | ADD | 2 | 1 | 3 | ms | 1.60 | 1.25 | 8 | 0.25 |
            | ADD: fsyncs | 4 |  |  |  |  |  |  |  |

            | figure, by functions | unit | 512 | 2048 | grows as |
            |---|---|---|---|---|
            | rescan | ms | 2 (1 to 4.50) | 8 | n^1.00 |
        "]]
        .assert_eq(&report().to_string());
    }

    #[test]
    fn section_replaces_only_the_text_between_its_marks() {
        let document = "before\n<!-- cni -->\nold\n<!-- /cni -->\nafter\n";
        let text = report().into_document(document).unwrap();
        assert!(text.starts_with("before\n<!-- cni -->\na machine\n\n`cargo"));
        assert!(text.ends_with("|\n<!-- /cni -->\nafter\n") && !text.contains("old"));
        // A second time gives the same.
        assert_eq!(report().into_document(&text).unwrap(), text);
        assert!(report().into_document("nothing").is_err());
    }
}
