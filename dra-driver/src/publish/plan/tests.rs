//! Writes for each kind of difference, and a simulated API server with deletions and changes by others at any moment.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::publish::device::{Device, Taint};

fn key(number: usize) -> SliceKey {
    SliceKey::in_name(&format!("0000000030000{number:02x}000-x")).unwrap()
}

/// A slice with one device whose name is its content.
fn content(name: &str) -> Content {
    Arc::new(vec![Arc::new(Device {
        name: name.to_owned(),
        attributes: BTreeMap::new(),
        taints: Vec::new(),
    })])
}

fn desired(slices: &[(usize, &str)]) -> Slices {
    let slices = slices.iter();
    slices
        .map(|(number, name)| (key(*number), content(name)))
        .collect()
}

fn existing(number: usize, name: &str, generation: i64, count: i64) -> Existing {
    Existing {
        id: ObjectId {
            name: format!("{}-{name}", key(number)),
            uid: "u".to_owned(),
            version: "1".to_owned(),
        },
        key: Some(key(number)),
        generation,
        count,
        content: Some(content(name)),
    }
}

/// Each write as `verb key content generation/count`, with the slice's number for the key.
fn check(slices: &[(usize, &str)], existing: &[Existing], expected: &[&str]) {
    let number = |key: &SliceKey| (0..9).find(|number| self::key(*number) == *key).unwrap();
    let text = |written: &Written| {
        let Written {
            key,
            generation,
            count,
            content,
        } = written;
        let names: Vec<&str> = content.iter().map(|device| device.name.as_str()).collect();
        format!("{} {} {generation}/{count}", number(key), names.join(","))
    };
    let writes = plan(&desired(slices), existing);
    let lines: Vec<String> = writes
        .iter()
        .map(|write| match write {
            Write::Create(written) => format!("create {}", text(written)),
            Write::Update(_, written) => format!("update {}", text(written)),
            Write::Delete(id) => format!("delete {}", id.name.rsplit('-').next().unwrap()),
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let two = [existing(1, "a", 4, 2), existing(2, "b", 4, 2)];
    check(&[(1, "a"), (2, "b")], &two, &[]);
}

#[test]
fn one_changed_slice_is_one_write_of_the_same_generation() {
    let two = [existing(1, "a", 4, 2), existing(2, "b", 4, 2)];
    check(&[(1, "x"), (2, "b")], &two, &["update 1 x 4/2"]);
    check(&[(1, "x")], &[existing(1, "a", 4, 1)], &["update 1 x 4/1"]);
}

#[test]
fn moved_devices_and_new_slices_need_a_new_generation() {
    let two = [existing(1, "a", 4, 2), existing(2, "b", 4, 2)];
    let expected = ["update 1 b 5/2", "update 2 a 5/2"];
    check(&[(1, "b"), (2, "a")], &two, &expected);
    let expected = ["update 1 a 5/3", "update 2 b 5/3", "create 3 c 5/3"];
    check(&[(1, "a"), (2, "b"), (3, "c")], &two, &expected);
}

#[test]
fn independent_changes_keep_the_generation() {
    let two = [existing(1, "a", 4, 2), existing(2, "b", 4, 2)];
    let expected = ["update 1 x 4/2", "update 2 y 4/2"];
    check(&[(1, "x"), (2, "y")], &two, &expected);
}

#[test]
fn deleted_slice_is_created_again_in_the_same_generation() {
    let one = [existing(1, "a", 4, 2)];
    check(&[(1, "a"), (2, "b")], &one, &["create 2 b 4/2"]);
    let all = ["create 1 a 1/2", "create 2 b 1/2"];
    check(&[(1, "a"), (2, "b")], &[], &all);
}

#[test]
fn obsolete_slices_are_deleted_first() {
    let two = [existing(1, "a", 4, 2), existing(2, "b", 4, 2)];
    check(&[(1, "a")], &two, &["delete b", "update 1 a 4/1"]);
    let twice = [existing(1, "a", 4, 1), existing(1, "b", 3, 1)];
    check(&[(1, "a")], &twice, &["delete b"]);
    let mut foreign = existing(1, "a", 9, 1);
    foreign.key = None;
    check(&[(1, "a")], &[foreign], &["delete a", "create 1 a 9/1"]);
}

#[test]
fn interrupted_update_continues_in_its_generation() {
    let half = [existing(1, "x", 5, 2), existing(2, "b", 4, 2)];
    check(&[(1, "x"), (2, "y")], &half, &["update 2 y 5/2"]);
    let expected = ["update 1 z 6/2", "update 2 y 6/2"];
    check(&[(1, "z"), (2, "y")], &half, &expected);
}

/// What happens at one moment.
#[derive(Clone, Debug)]
enum Step {
    /// The driver sends its next write.
    Write,
    /// The driver receives all events.
    Watch,
    /// Somebody deletes a slice.
    Delete(usize),
    /// Somebody changes a slice.
    Change(usize),
    /// The pools change.
    Desire(Vec<(usize, u8)>),
}

fn step(has_foreign_changes: bool) -> impl Strategy<Value = Step> {
    let slices = prop::collection::btree_map(0..4_usize, 0..3_u8, 1..4);
    let desire = slices.prop_map(|slices| Step::Desire(slices.into_iter().collect()));
    let change = if has_foreign_changes { 2 } else { 0 };
    prop_oneof![
        8 => Just(Step::Write),
        4 => Just(Step::Watch),
        2 => (0..8_usize).prop_map(Step::Delete),
        change => (0..8_usize).prop_map(Step::Change),
        2 => desire,
    ]
}

/// The API server, and what the driver has seen of it.
#[derive(Default)]
struct Simulation {
    server: Vec<Existing>,
    seen: Vec<Existing>,
    clock: u64,
}

impl Simulation {
    /// Executes a write as the API server does, with its preconditions; the driver sees the answer.
    fn write(&mut self, write: Write) {
        self.clock += 1;
        let version = self.clock.to_string();
        let (id, written) = match write {
            Write::Create(written) => {
                let name = format!("{}-{version}", written.key);
                let uid = version.clone();
                (ObjectId { name, uid, version }, written)
            }
            Write::Update(id, written) => {
                if !self.server.iter().any(|slice| slice.id == id) {
                    self.seen.clone_from(&self.server);
                    return;
                }
                self.remove(&id);
                (ObjectId { version, ..id }, written)
            }
            Write::Delete(id) => {
                if self.server.iter().any(|slice| slice.id == id) {
                    self.remove(&id);
                } else {
                    self.seen.clone_from(&self.server);
                }
                return;
            }
        };
        let slice = Existing {
            id,
            key: Some(written.key),
            generation: written.generation,
            count: written.count,
            content: Some(written.content),
        };
        self.server.push(slice.clone());
        self.seen.push(slice);
    }

    fn remove(&mut self, id: &ObjectId) {
        self.server.retain(|slice| slice.id != *id);
        self.seen.retain(|slice| slice.id != *id);
    }

    /// The pool as a scheduler uses it; absent while it is incomplete.
    fn read(&self) -> Option<Slices> {
        let newest = self.server.iter().map(|slice| slice.generation).max()?;
        let newest = self
            .server
            .iter()
            .filter(|slice| slice.generation == newest);
        let slices: Vec<&Existing> = newest.collect();
        let is_complete = |slice: &&Existing| usize::try_from(slice.count) == Ok(slices.len());
        slices.iter().all(is_complete).then(|| {
            let slices = slices.iter();
            slices
                .map(|slice| (slice.key.clone().unwrap(), slice.content.clone().unwrap()))
                .collect()
        })
    }

    fn settle(&mut self, desired: &Slices) -> usize {
        for writes in 0..40 {
            self.seen.clone_from(&self.server);
            let Some(write) = plan(desired, &self.seen).into_iter().next() else {
                return writes;
            };
            self.write(write);
        }
        panic!("the writes do not end");
    }
}

/// The names of all devices, with their slices.
fn names(slices: &Slices) -> Vec<(&SliceKey, &str)> {
    let mut names = Vec::new();
    for (key, content) in slices {
        names.extend(content.iter().map(|device| (key, device.name.as_str())));
    }
    names
}

fn slices_of(wanted: &[(usize, u8)]) -> Slices {
    let slices = wanted.iter();
    let taint = |text: &u8| Taint {
        key: "k".to_owned(),
        value: text.to_string(),
    };
    // Devices of two slices share their names, so that one may move; the taint changes without a move.
    let device = |number: &usize, text: &u8| Device {
        name: format!("{}", (number + usize::from(*text > 1)) / 2),
        attributes: BTreeMap::new(),
        taints: vec![taint(text)],
    };
    let content = |number, text| Arc::new(vec![Arc::new(device(number, text))]);
    let mut seen = std::collections::BTreeSet::new();
    let slices = slices.map(|(number, text)| (key(*number), content(number, text)));
    slices
        .filter(|(_, content): &(SliceKey, Content)| seen.insert(content[0].name.clone()))
        .collect()
}

fn run(steps: Vec<Step>, mut check: impl FnMut(&Simulation, &[Slices])) -> (Simulation, Slices) {
    let mut simulation = Simulation::default();
    let mut history = vec![slices_of(&[(0, 0)])];
    for step in steps {
        let desired = history.last().unwrap().clone();
        match step {
            Step::Write => {
                if let Some(write) = plan(&desired, &simulation.seen).into_iter().next() {
                    simulation.write(write);
                }
            }
            Step::Watch => simulation.seen.clone_from(&simulation.server),
            Step::Delete(number) if number < simulation.server.len() => {
                simulation.server.remove(number);
            }
            Step::Change(number) if number < simulation.server.len() => {
                simulation.clock += 1;
                let version = simulation.clock.to_string();
                let slice = &mut simulation.server[number];
                slice.id.version = version;
                slice.content = Some(content("foreign"));
            }
            Step::Delete(_) | Step::Change(_) => {}
            Step::Desire(wanted) => history.push(slices_of(&wanted)),
        }
        check(&simulation, &history);
    }
    let desired = history.last().unwrap().clone();
    (simulation, desired)
}

proptest! {
    #[test]
    fn any_interleaving_ends_at_the_desired_slices(
        steps in prop::collection::vec(step(true), 0..60)
    ) {
        let (mut simulation, desired) = run(steps, |_, _| {});
        simulation.settle(&desired);
        prop_assert_eq!(simulation.read(), Some(desired.clone()));
        prop_assert_eq!(simulation.settle(&desired), 0);
    }

    #[test]
    fn a_reader_sees_no_device_twice_and_misses_none(steps in prop::collection::vec(step(false), 0..60)) {
        run(steps, |simulation, history| {
            let Some(seen) = simulation.read() else { return };
            // The slices of one moment, each with a content that it was given; between moments with the same devices
            // the contents may differ in age.
            let is_like = |slices: &Slices| names(slices) == names(&seen);
            assert!(history.iter().any(is_like), "{seen:?} of {history:?}");
        });
    }
}
