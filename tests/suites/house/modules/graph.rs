//! The modules of one package and their uses of each other; names are followed through imports and re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::source::{self, Source};

/// The place of a module below the root of its crate; empty for the root.
pub(super) type Place = Vec<String>;

/// One module that uses another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) line: usize,
}

/// All modules of a crate, without those for tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    modules: BTreeMap<Place, Source>,
    /// Modules that have a file of their own.
    files: BTreeSet<Place>,
}

/// Limit of re-exports that a name is followed through.
const HOPS: usize = 8;

impl Graph {
    /// Reads the modules of a crate from its root file on.
    pub(super) fn read(root: &Path) -> Self {
        let mut graph = Self::default();
        let dir = root.parent().unwrap();
        graph.add_file(Place::new(), root, dir);
        graph
    }

    fn add_file(&mut self, place: Place, file: &Path, children: &Path) {
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        self.files.insert(place.clone());
        self.add(place, source::read(&text), children);
    }

    fn add(&mut self, place: Place, source: Source, children: &Path) {
        for name in &source.files {
            let file = children.join(format!("{name}.rs"));
            self.add_file(below(&place, name), &file, &children.join(name));
        }
        for (name, block) in &source.blocks {
            self.add(below(&place, name), block.clone(), &children.join(name));
        }
        self.modules.insert(place, source);
    }

    /// The modules at the top.
    pub(super) fn rooms(&self) -> BTreeSet<&str> {
        let rooms = self.files.iter().filter(|place| place.len() == 1);
        rooms.map(|place| place[0].as_str()).collect()
    }

    /// The uses between files.
    pub(super) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (place, source) in &self.modules {
            let imports = source.imports.iter();
            let imports =
                imports.map(|import| (import.path.clone(), import.line, import.is_reexport));
            let paths = source.paths.iter();
            let paths = paths.map(|path| (path.segments.clone(), path.line, false));
            for (path, line, is_reexport) in imports.chain(paths) {
                let Some(to) = self.home(place, &path, HOPS) else {
                    continue;
                };
                let (from, to) = (self.file_of(place), self.file_of(&to));
                // A module does not use its parts if it only re-exports their names.
                let is_handed_on = is_reexport && to.starts_with(&from);
                if from != to && !is_handed_on {
                    uses.push(Use { from, to, line });
                }
            }
        }
        uses
    }

    /// The module that defines the target of a path in `place`; absent for other crates.
    fn home(&self, place: &Place, path: &[String], hops: usize) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        let mut at = place.clone();
        let mut rest = rest;
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop()?;
                while let Some((next, more)) =
                    rest.split_first().filter(|(next, _)| *next == "super")
                {
                    let _ = next;
                    at.pop()?;
                    rest = more;
                }
            }
            _ => return self.named(place, first, rest, hops, true),
        }
        Some(self.descend(at, rest, hops))
    }

    /// Follows the rest of a path from a module on.
    fn descend(&self, at: Place, rest: &[String], hops: usize) -> Place {
        match rest.split_first() {
            Some((next, more)) => self.named(&at, next, more, hops, false).unwrap_or(at),
            None => at,
        }
    }

    /// The home of a name of a module: a module below it, an import, or an item of its own.
    fn named(
        &self,
        at: &Place,
        name: &str,
        rest: &[String],
        hops: usize,
        is_first: bool,
    ) -> Option<Place> {
        let inner = below(at, name);
        if self.modules.contains_key(&inner) {
            return Some(self.descend(inner, rest, hops));
        }
        let source = self.modules.get(at)?;
        if source.items.contains(name) {
            return Some(at.clone());
        }
        let hops = hops.checked_sub(1)?;
        let named = source.imports.iter().filter(|import| import.name == name);
        for import in named {
            let is_itself = is_first && import.path.first().is_some_and(|first| first == name);
            if is_itself {
                continue;
            }
            let mut path = import.path.clone();
            path.extend_from_slice(rest);
            if let Some(home) = self.home(at, &path, hops) {
                return Some(home);
            }
        }
        let globs = source.imports.iter().filter(|import| import.name == "*");
        globs.filter(|_| !is_first).find_map(|import| {
            let from = self.home(at, &import.path, hops)?;
            (from != *at).then_some(())?;
            self.named(&from, name, rest, hops, false)
        })
    }

    /// The module whose file contains a module.
    fn file_of(&self, place: &Place) -> Place {
        let mut place = place.clone();
        while !self.files.contains(&place) {
            place.pop();
        }
        place
    }
}

fn below(place: &Place, name: &str) -> Place {
    let mut inner = place.clone();
    inner.push(name.to_owned());
    inner
}

/// The root files of the crates of a package: its library, its program, or both.
pub(super) fn roots(package: &Path) -> Vec<PathBuf> {
    let roots = ["src/lib.rs", "src/main.rs"].map(|root| package.join(root));
    roots.into_iter().filter(|root| root.exists()).collect()
}

/// A place as it is written in code.
pub(super) fn name(place: &[String]) -> String {
    if place.is_empty() {
        "the crate's root".to_owned()
    } else {
        place.join("::")
    }
}
