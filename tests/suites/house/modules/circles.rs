//! Finds circles: modules that use each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Place, Use, name};

/// The circles of a crate, each as a sentence.
///
/// A module is one room together with the modules below it, and the rooms of each folder use each other in one direction.
/// A module and its own parts are not compared: parts may use what the file above them defines.
pub(super) fn circles(uses: &[Use]) -> Vec<String> {
    let folders: BTreeSet<Place> = uses.iter().map(folder).collect();
    let mut found = Vec::new();
    for folder in folders {
        let depth = folder.len() + 1;
        let room = |place: &Place| Some(place.get(..depth)?.to_vec());
        let between: Vec<(Place, Place, &Use)> = uses
            .iter()
            .filter(|edge| self::folder(edge) == folder)
            .filter_map(|edge| Some((room(&edge.from)?, room(&edge.to)?, edge)))
            .collect();
        for group in groups(&between) {
            found.push(sentence(&group, &between));
        }
    }
    found
}

/// The innermost folder that contains both modules of a use.
fn folder(edge: &Use) -> Place {
    let common = edge.from.iter().zip(&edge.to);
    let common = common.take_while(|(from, to)| from == to);
    common.map(|(part, _)| part.clone()).collect()
}

/// Groups of two or more rooms that reach each other.
fn groups(between: &[(Place, Place, &Use)]) -> Vec<BTreeSet<Place>> {
    let mut direct: BTreeMap<&Place, BTreeSet<&Place>> = BTreeMap::new();
    for (from, to, _) in between {
        direct.entry(from).or_default().insert(to);
    }
    let reach = |start: &Place| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(node) = next.pop() {
            for to in direct.get(node).into_iter().flatten() {
                if seen.insert((*to).clone()) {
                    next.push(*to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Place, BTreeSet<Place>> =
        direct.keys().map(|node| (*node, reach(node))).collect();
    let mut groups: Vec<BTreeSet<Place>> = Vec::new();
    for (node, seen) in &reached {
        let back = |other: &&Place| reached.get(other).is_some_and(|seen| seen.contains(*node));
        let group: BTreeSet<Place> = seen.iter().filter(back).cloned().collect();
        if group.len() > 1 && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn sentence(group: &BTreeSet<Place>, between: &[(Place, Place, &Use)]) -> String {
    let names: Vec<String> = group.iter().map(|place| name(place)).collect();
    let mut lines = vec![format!("a circle of {}", names.join(", "))];
    for (from, to, edge) in between {
        if group.contains(from) && group.contains(to) {
            let (from, to) = (name(&edge.from), name(&edge.to));
            lines.push(format!("  {from} uses {to} (line {})", edge.line));
        }
    }
    lines.join("\n")
}
