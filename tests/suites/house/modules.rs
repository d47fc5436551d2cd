//! The order of the modules in each package: no circle, no import against the documented order, and no runtime in the inventory.
//!
//! `docs/architecture.md` lists the modules of each package from the ground to the roof.
//! Imports and paths in the sources are followed to the file that defines the name; code for tests does not count.

mod circles;
mod graph;
mod order;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sriov_lab::checkout::workspace;

use self::graph::Graph;
use self::order::Stages;
use super::arrows::{linked, members};

/// Packages that `sriov-inventory` must not link.
const RUNTIME: [&str; 2] = ["tokio", "tonic"];

/// The documented orders, by the folder of the package.
fn orders() -> BTreeMap<String, Stages> {
    let document = workspace().join("docs/architecture.md");
    order::read(&fs::read_to_string(document).unwrap())
}

/// Circles and imports against the order in a package, in sentences.
fn complaints(package: &Path, stages: &Stages) -> Vec<String> {
    let mut complaints = Vec::new();
    for root in graph::roots(package) {
        let graph = Graph::read(&root);
        let (rooms, uses) = (graph.rooms(), graph.uses());
        complaints.extend(circles::circles(&uses));
        // A program next to a library has no modules.
        if !rooms.is_empty() {
            complaints.extend(order::complaints(stages, &rooms, &uses));
        }
    }
    complaints
}

#[test]
fn modules_of_each_package_keep_their_order() {
    let mut all = Vec::new();
    for (package, stages) in orders() {
        let dir = workspace().join(&package);
        assert!(!graph::roots(&dir).is_empty(), "{package} has no sources");
        let complaints = complaints(&dir, &stages);
        all.extend(complaints.iter().map(|text| format!("{package}: {text}")));
    }
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn every_package_with_modules_has_an_order() {
    let orders = orders();
    for package in members() {
        let roots = graph::roots(&workspace().join(&package));
        let has_modules = |root: &PathBuf| !Graph::read(root).rooms().is_empty();
        assert!(
            orders.contains_key(&package) || !roots.iter().any(has_modules),
            "docs/architecture.md lists no order for {package}"
        );
    }
}

/// The forbidden packages among those that are linked.
fn runtime_in<'a>(linked: impl IntoIterator<Item = &'a String>) -> Vec<&'a String> {
    let names = linked.into_iter();
    names
        .filter(|name| RUNTIME.contains(&name.as_str()))
        .collect()
}

#[test]
fn inventory_links_no_runtime() {
    let linked_there = linked("sriov-inventory");
    assert_eq!(runtime_in(&linked_there), Vec::<&String>::new());
    assert_eq!(runtime_in(&linked("sriov-device-plugin")), RUNTIME);
}

/// A package in a temporary directory.
struct Sample(tempfile::TempDir);

impl Sample {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("src").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn complaints(&self, order: &str) -> String {
        let document = format!("# Order\n\n```order\nsample: {order}\n```\n");
        let orders = order::read(&document);
        complaints(self.0.path(), &orders["sample"]).join("\n")
    }
}

const ROOT: &str = "mod ground;\nmod middle;\nmod roof;\n";

#[test]
fn good_order_has_no_complaint() {
    let sample = Sample::new(&[
        ("lib.rs", ROOT),
        ("ground.rs", "pub struct Stone;"),
        (
            "middle.rs",
            "mod wall;\npub use self::wall::Wall;\nuse crate::ground::Stone;\n#[cfg(test)]\nmod tests { use crate::roof::Tile; }\n",
        ),
        (
            "middle/wall.rs",
            "pub struct Wall(super::super::ground::Stone);",
        ),
        (
            "roof.rs",
            "use crate::{ground, middle::Wall};\nfn build() -> ground::Stone { crate::middle::Wall::new() }\n#[cfg(test)]\nuse crate::unknown;\n",
        ),
    ]);
    assert_eq!(sample.complaints("ground < middle < roof"), "");
}

#[test]
fn circle_of_three_modules_is_found() {
    let sample = Sample::new(&[
        ("lib.rs", ROOT),
        ("ground.rs", "fn f() { crate::roof::g(); }"),
        ("middle.rs", "use crate::ground::f;"),
        ("roof.rs", "use super::middle;\npub fn g() { middle::f(); }"),
    ]);
    let complaints = sample.complaints("ground < middle < roof");
    assert!(
        complaints.contains("a circle of ground, middle, roof"),
        "{complaints}"
    );
    assert!(
        complaints.contains("ground uses roof against the order (line 1)"),
        "{complaints}"
    );
}

#[test]
fn circle_of_folders_is_found_without_one_of_files() {
    let sample = Sample::new(&[
        ("lib.rs", "mod left;\nmod right;\n"),
        ("left.rs", "mod one;\npub mod two;\n"),
        ("left/one.rs", "use crate::right::three::Three;"),
        ("left/two.rs", "pub struct Two;"),
        ("right.rs", "pub mod three;\nmod four;\n"),
        ("right/three.rs", "pub struct Three;"),
        ("right/four.rs", "use crate::left::two::Two;"),
    ]);
    let complaints = sample.complaints("left < right");
    assert!(
        complaints.contains("a circle of left, right"),
        "{complaints}"
    );
}

#[test]
fn circle_inside_a_folder_is_found() {
    let sample = Sample::new(&[
        ("lib.rs", "mod house;\n"),
        ("house.rs", "mod door;\nmod window;\n"),
        (
            "house/door.rs",
            "use super::window::Window;\npub struct Door;",
        ),
        (
            "house/window.rs",
            "fn f() -> super::door::Door {}\npub struct Window;",
        ),
    ]);
    let complaints = sample.complaints("house");
    assert!(
        complaints.contains("a circle of house::door, house::window"),
        "{complaints}"
    );
}

#[test]
fn parts_may_use_what_their_own_file_defines() {
    let sample = Sample::new(&[
        ("lib.rs", "mod house;\n"),
        ("house.rs", "mod door;\npub struct House(door::Door);"),
        ("house/door.rs", "use super::House;\npub struct Door;"),
    ]);
    assert_eq!(sample.complaints("house"), "");
}

#[test]
fn import_against_the_order_is_found_through_a_reexport() {
    let sample = Sample::new(&[
        (
            "lib.rs",
            "mod ground;\nmod middle;\nmod roof;\npub use roof::Tile;\n",
        ),
        ("ground.rs", "use crate::Tile as Cover;"),
        ("middle.rs", ""),
        ("roof.rs", "pub struct Tile;"),
    ]);
    assert_eq!(
        sample.complaints("ground < middle < roof"),
        "ground uses roof against the order (line 1)"
    );
    assert_eq!(sample.complaints("roof < middle, ground"), "");
}

#[test]
fn modules_of_one_stage_may_not_use_each_other() {
    let sample = Sample::new(&[
        ("lib.rs", "mod one;\nmod two;\n"),
        ("one.rs", "pub struct One;"),
        ("two.rs", "use crate::one::*;"),
    ]);
    assert_eq!(
        sample.complaints("one, two"),
        "two uses one against the order (line 1)"
    );
    assert_eq!(
        sample.complaints("one < three"),
        "`two` has no place in the order\n`three` is in the order and is not a module\ntwo uses one against the order (line 1)"
    );
}

#[test]
fn item_of_the_crate_root_is_above_every_module() {
    let sample = Sample::new(&[
        ("lib.rs", "mod one;\npub struct Top;\n"),
        ("one.rs", "use crate::Top;"),
    ]);
    assert_eq!(
        sample.complaints("one"),
        "one uses the crate's root against the order (line 1)"
    );
}

#[test]
fn linked_runtime_is_found() {
    let linked = ["serde", "tokio", "tokio-stream"].map(str::to_owned);
    assert_eq!(runtime_in(&linked), ["tokio"]);
}
