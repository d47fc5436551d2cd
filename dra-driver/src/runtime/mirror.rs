//! The slices of the API server as far as this process has seen them: the list, then the events and the answers of its own writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::slices::{Listed, SliceEvent};
use crate::publish::device::{Content, SliceKey};
use crate::publish::plan::{Existing, ObjectId, Write};

/// The slices.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    slices: BTreeMap<String, Existing>,
    /// UIDs of slices that this process deleted: older events about them may still arrive.
    deleted: BTreeSet<String>,
    /// Where the next watch begins.
    version: String,
}

/// What an event meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This process has done it, or nothing happened.
    None,
    /// Somebody else deleted a slice.
    Deleted,
    /// Somebody else created or changed a slice.
    Changed,
}

impl Mirror {
    /// Begins with a list.
    pub(super) fn of(listed: Listed) -> Self {
        let slices = listed.slices.into_iter();
        Self {
            slices: slices.map(|slice| (slice.id.name.clone(), slice)).collect(),
            deleted: BTreeSet::new(),
            version: listed.version,
        }
    }

    /// Where the next watch begins.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The slices.
    pub(super) fn existing(&self) -> Vec<Existing> {
        self.slices.values().cloned().collect()
    }

    /// The slices that have a key and a content of ours.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&SliceKey, &Content)> {
        let slices = self.slices.values();
        slices.filter_map(|slice| slice.key.as_ref().zip(slice.content.as_ref()))
    }

    /// The highest generation.
    pub(super) fn generation(&self) -> i64 {
        let generations = self.slices.values().map(|slice| slice.generation);
        generations.max().unwrap_or(0)
    }

    /// Takes over an event; one that is older than what was seen changes nothing.
    pub(super) fn take(&mut self, event: SliceEvent) -> News {
        match event {
            SliceEvent::Bookmark(version) => {
                self.version = version;
                News::None
            }
            SliceEvent::Deleted(id) => {
                self.version.clone_from(&id.version);
                let is_seen = |seen: &Existing| seen.id.uid == id.uid;
                if self.slices.get(&id.name).is_some_and(is_seen) {
                    self.slices.remove(&id.name);
                    return News::Deleted;
                }
                News::None
            }
            SliceEvent::Changed(slice) => {
                self.version.clone_from(&slice.id.version);
                if self.deleted.contains(&slice.id.uid) {
                    return News::None;
                }
                let seen = self.slices.get(&slice.id.name);
                if seen.is_some_and(|seen| !is_newer(&slice.id, &seen.id)) {
                    return News::None;
                }
                self.slices.insert(slice.id.name.clone(), slice);
                News::Changed
            }
        }
    }

    /// Takes over the answer of a write.
    ///
    /// A server that stores something else than was sent would be written to forever: what was sent counts.
    pub(super) fn wrote(&mut self, write: &Write, stored: Option<Existing>) {
        match (write, stored) {
            (Write::Delete(id), _) => {
                self.slices.remove(&id.name);
                self.deleted.insert(id.uid.clone());
            }
            (Write::Create(sent) | Write::Update(_, sent), Some(mut stored)) => {
                stored.content = Some(Content::clone(&sent.content));
                self.slices.insert(stored.id.name.clone(), stored);
            }
            (Write::Create(_) | Write::Update(..), None) => {}
        }
    }
}

/// Whether a state is newer than another one of the same object. Versions are numbers (KEP-5504); others count as newer.
fn is_newer(state: &ObjectId, seen: &ObjectId) -> bool {
    if state.uid != seen.uid {
        return true;
    }
    let number = |id: &ObjectId| id.version.parse::<u128>().ok();
    match (number(state), number(seen)) {
        (Some(state), Some(seen)) => state > seen,
        _ => state.version != seen.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, uid: &str, version: &str) -> Existing {
        Existing {
            id: ObjectId {
                name: name.to_owned(),
                uid: uid.to_owned(),
                version: version.to_owned(),
            },
            key: None,
            generation: 1,
            count: 1,
            content: None,
        }
    }

    #[test]
    fn events_that_are_older_than_the_answer_change_nothing() {
        let mut mirror = Mirror::of(Listed {
            slices: vec![slice("a", "1", "10")],
            version: "10".to_owned(),
        });
        let changed = |version: &str| SliceEvent::Changed(slice("a", "1", version));
        assert_eq!(mirror.take(changed("9")), News::None);
        assert_eq!(mirror.take(changed("10")), News::None);
        assert_eq!(mirror.take(changed("11")), News::Changed);
        let other = SliceEvent::Changed(slice("a", "2", "3"));
        assert_eq!(mirror.take(other), News::Changed);
        let gone = SliceEvent::Deleted(slice("a", "1", "12").id);
        assert_eq!(mirror.take(gone), News::None);
        assert_eq!(mirror.existing().len(), 1);
        let gone = SliceEvent::Deleted(slice("a", "2", "13").id);
        assert_eq!(mirror.take(gone), News::Deleted);
        assert_eq!((mirror.existing().len(), mirror.version()), (0, "13"));
    }

    #[test]
    fn a_deleted_slice_does_not_return_by_an_old_event() {
        let mut mirror = Mirror::of(Listed {
            slices: vec![slice("a", "1", "10")],
            version: "10".to_owned(),
        });
        mirror.wrote(&Write::Delete(slice("a", "1", "10").id), None);
        let late = SliceEvent::Changed(slice("a", "1", "11"));
        assert_eq!(mirror.take(late), News::None);
        assert!(mirror.existing().is_empty());
    }
}
