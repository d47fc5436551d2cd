//! The documented order of the stages in each package, and the uses against it.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Use, name};

/// The stages of a package from the ground to the roof; modules of one stage do not use each other.
pub(super) type Stages = Vec<Vec<String>>;

/// Reads the block with the orders from a document: one line per package, `package: ground < ... < roof`.
///
/// # Panics
/// If the document has no such block.
pub(super) fn read(document: &str) -> BTreeMap<String, Stages> {
    let block = document.split("```order\n").nth(1);
    let block = block.and_then(|rest| rest.split("```").next());
    let block = block.expect("docs/architecture.md has no block that begins with ```order");
    let words = |text: &str, mark| -> Vec<String> {
        text.split(mark)
            .map(|word| word.trim().to_owned())
            .collect()
    };
    let line = |line: &str| {
        let (package, stages) = line.split_once(':')?;
        let stages = words(stages, '<').into_iter();
        let stages = stages.map(|stage| words(&stage, ','));
        Some((package.to_owned(), stages.collect()))
    };
    block.lines().filter_map(line).collect()
}

/// Uses of a package against its order, in sentences.
pub(super) fn complaints(stages: &Stages, rooms: &BTreeSet<&str>, uses: &[Use]) -> Vec<String> {
    let stage_of = |room: &str| {
        stages
            .iter()
            .position(|stage| stage.iter().any(|known| known == room))
    };
    let mut complaints = Vec::new();
    for room in rooms {
        if stage_of(room).is_none() {
            complaints.push(format!("`{room}` has no place in the order"));
        }
    }
    for listed in stages.iter().flatten() {
        if !rooms.contains(listed.as_str()) {
            complaints.push(format!("`{listed}` is in the order and is not a module"));
        }
    }
    for edge in uses {
        let (from, to) = (edge.from.first(), edge.to.first());
        let is_against = match (from, to) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(from), Some(to)) => from != to && stage_of(from) <= stage_of(to),
        };
        if is_against {
            complaints.push(format!(
                "{} uses {} against the order (line {})",
                name(&edge.from),
                name(&edge.to),
                edge.line
            ));
        }
    }
    complaints
}
