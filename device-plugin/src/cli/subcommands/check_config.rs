//! `check-config`: the mistakes and warnings of a configuration, each with its place.

use std::fmt::{Display, Write};

use sriov_config::resource_list::Refused;
use sriov_config::{Finding, ResourceList};

use super::Verdict;
use super::table::{Paint, Tone};

/// All mistakes, all warnings, and their numbers.
pub(super) fn report(
    file: &dyn Display,
    parsed: &Result<ResourceList, Refused>,
    paint: Paint,
) -> (String, Verdict) {
    let (mistakes, warnings, usable): (Vec<&Finding>, &[Finding], usize) = match parsed {
        Ok(list) => (
            list.mistakes().collect(),
            &list.warnings,
            list.resources.len(),
        ),
        Err(refused) => (refused.mistakes.0.iter().collect(), &refused.warnings, 0),
    };
    let mut text = String::new();
    let mut line = |tone: Tone, word: &str, finding: &Finding| {
        let _ = writeln!(text, "{file}: {}: {finding}", paint.tone(tone, word));
    };
    for mistake in &mistakes {
        line(Tone::Bad, "mistake", mistake);
    }
    for warning in warnings {
        line(Tone::Odd, "warning", warning);
    }
    let _ = writeln!(
        text,
        "{file}: {}, {}, {}",
        count(usable, "usable resource"),
        count(mistakes.len(), "mistake"),
        count(warnings.len(), "warning")
    );
    let verdict = if mistakes.is_empty() {
        Verdict::Good
    } else {
        Verdict::Bad
    };
    (text, verdict)
}

/// `1 mistake`, `2 mistakes`.
pub(super) fn count(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}
