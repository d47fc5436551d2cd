//! The writes that lead from the slices of the API server to the desired ones.
//!
//! A reader uses a pool only while the number of slices of its highest generation is the number that each of them states.
//! Writes that each change a complete pool into a complete pool keep the generation: one slice, or several between which no device moves.
//! All others carry a new generation, so that no reader sees a device twice, or misses one that moves.

use std::collections::BTreeMap;

use super::desired::Slices;
use super::device::{Content, SliceKey};

/// A slice of this driver and node as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Existing {
    pub(crate) id: ObjectId,
    /// Absent when the slice is not one that this driver makes: another pool, a name of another form.
    pub(crate) key: Option<SliceKey>,
    pub(crate) generation: i64,
    /// Number of slices in the pool, as the slice states it.
    pub(crate) count: i64,
    /// Absent when something is in it that this driver never writes.
    pub(crate) content: Option<Content>,
}

/// One state of one object: a write with it fails when somebody else wrote in between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: String,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create(Written),
    Update(ObjectId, Written),
    Delete(ObjectId),
}

/// A slice as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) key: SliceKey,
    pub(crate) generation: i64,
    pub(crate) count: i64,
    pub(crate) content: Content,
}

/// The writes, in their order; none when nothing differs. The caller plans again after each write that did not succeed.
pub(crate) fn plan(desired: &Slices, existing: &[Existing]) -> Vec<Write> {
    let (matching, obsolete) = matching(desired, existing);
    let newest = existing.iter().map(|slice| slice.generation).max();
    let newest = newest.unwrap_or(0);
    let count = i64::try_from(desired.len()).unwrap_or(i64::MAX);
    let is_right = |slice: &Existing, content: &Content| {
        slice.count == count && slice.content.as_ref() == Some(content)
    };
    // Slices of the newest generation that differ, and slices that this generation lacks.
    let (mut wrong, mut missing) = (Vec::new(), 0);
    for (key, content) in desired {
        match matching.get(key) {
            Some(slice) if slice.generation < newest => missing += 1,
            Some(slice) if is_right(slice, content) => {}
            Some(slice) => wrong.push((*slice, content)),
            None => missing += 1,
        }
    }
    let keeps_generation = match wrong.as_slice() {
        [] => true,
        [_] => missing == 0,
        several => missing == 0 && are_independent(several, existing, count),
    };
    let generation = if keeps_generation { newest } else { newest + 1 };
    // A pool that does not exist yet begins with generation 1.
    let generation = generation.max(1);
    let mut writes: Vec<Write> = obsolete
        .into_iter()
        .map(|slice| Write::Delete(slice.id.clone()))
        .collect();
    for (key, content) in desired {
        let written = || Written {
            key: key.clone(),
            generation,
            count,
            content: Content::clone(content),
        };
        match matching.get(key) {
            None => writes.push(Write::Create(written())),
            Some(slice) if slice.generation == generation && is_right(slice, content) => {}
            Some(slice) => writes.push(Write::Update(slice.id.clone(), written())),
        }
    }
    writes
}

/// Whether the order of the writes does not matter: no device moves between slices, and the number of slices stays.
fn are_independent(wrong: &[(&Existing, &Content)], existing: &[Existing], count: i64) -> bool {
    let mut home: BTreeMap<&str, &str> = BTreeMap::new();
    for slice in existing {
        let Some(content) = &slice.content else {
            return false;
        };
        let names = content.iter().map(|device| device.name.as_str());
        home.extend(names.map(|name| (name, slice.id.name.as_str())));
    }
    wrong.iter().all(|(slice, content)| {
        let mut names = content.iter().map(|device| device.name.as_str());
        let stays = |name| home.get(name).is_none_or(|home| *home == slice.id.name);
        slice.count == count && names.all(stays)
    })
}

/// The slice for each key, and the slices that are obsolete: those without a desired key, and all but one of each key.
fn matching<'a>(
    desired: &Slices,
    existing: &'a [Existing],
) -> (BTreeMap<&'a SliceKey, &'a Existing>, Vec<&'a Existing>) {
    let mut matching: BTreeMap<&SliceKey, &Existing> = BTreeMap::new();
    let mut obsolete = Vec::new();
    for slice in existing {
        let key = slice.key.as_ref().filter(|key| desired.contains_key(*key));
        let Some(key) = key else {
            obsolete.push(slice);
            continue;
        };
        match matching.get(key) {
            // Of two the older one goes: readers do not use it.
            Some(other) if other.generation >= slice.generation => obsolete.push(slice),
            Some(other) => {
                obsolete.push(other);
                matching.insert(key, slice);
            }
            None => {
                matching.insert(key, slice);
            }
        }
    }
    (matching, obsolete)
}

#[cfg(test)]
mod tests;
