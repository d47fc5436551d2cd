//! The suites that run on a node: modules of one test program for each kind of node, selected by name.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::checkout::workspace;
use crate::qemu::{Job, Node, Output};

const PACKAGE: &str = "sriov-suites";

/// The kind of node that suites need; its name is the test program and the folder in `tests/suites`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The plain node.
    Guest,
    /// The Kubernetes node.
    Kube,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Kube => "kube",
        }
    }

    /// All suites of this kind: the modules that the root of the test program declares.
    pub(crate) fn suites(self) -> Result<Vec<String>> {
        let root = workspace().join(format!("tests/suites/{}/main.rs", self.name()));
        let text = std::fs::read_to_string(&root)
            .with_context(|| format!("cannot read {}", root.display()))?;
        Ok(modules(&text))
    }
}

/// Suites of one kind, built.
#[derive(Clone, Debug)]
pub struct Suites {
    kind: Kind,
    names: Vec<String>,
    program: PathBuf,
}

impl Suites {
    /// Builds the named suites, or all of the kind without a name.
    ///
    /// # Errors
    /// If a name is not that of a suite, or cargo cannot build them.
    pub fn build(kind: Kind, names: &[&str]) -> Result<Self> {
        let names = chosen(&kind.suites()?, names)?;
        let program = build::test_program(PACKAGE, kind.name())?;
        Ok(Self {
            kind,
            names,
            program,
        })
    }

    /// Whether a suite is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|suite| suite == name)
    }

    /// Whether the name of one of them begins so.
    pub(crate) fn have(&self, beginning: &str) -> bool {
        self.names.iter().any(|suite| suite.starts_with(beginning))
    }

    /// Adds their program to the node, and the DRA driver if one of them runs it on the plain node.
    ///
    /// # Errors
    /// When the program is missing, or the driver cannot be built.
    pub fn add_to(&self, node: &mut Node) -> Result<()> {
        if self.kind == Kind::Guest && self.has("dra_kill") {
            // Not the one that ships, whose build takes minutes: both make the same system calls.
            let driver = build::guest_binary("sriov-dra-driver", "sriov-dra-driver")?;
            node.add_file("opt/virtfn/sriov-dra-driver", &driver)?;
        }
        let place = self.place();
        node.add_file(place.trim_start_matches('/'), &self.program)
    }

    /// One job for each suite, with these variables of the environment.
    pub fn jobs(&self, environment: &[String]) -> Vec<Job> {
        let job = |name: &String| {
            let mut argv = Vec::new();
            if !environment.is_empty() {
                argv.push("/bin/env".to_owned());
                argv.extend_from_slice(environment);
            }
            // A test's name begins with that of its module.
            argv.extend([
                self.place(),
                format!("{name}::"),
                "--test-threads=1".to_owned(),
            ]);
            Job {
                name: name.clone(),
                argv,
                output: Output::Both,
            }
        };
        self.names.iter().map(job).collect()
    }

    fn place(&self) -> String {
        format!("/lab/suites/{}", self.kind.name())
    }
}

/// The modules that the root of a test program declares, in its order.
fn modules(root: &str) -> Vec<String> {
    let module = |line: &str| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned());
    root.lines().filter_map(module).collect()
}

/// The named suites, in the order of the names; all of them without a name.
fn chosen(all: &[String], names: &[&str]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen: Vec<String> = Vec::new();
    for name in names {
        if !all.iter().any(|suite| suite == name) {
            bail!(
                "`{name}` is not a suite of this node: choose from {}",
                all.join(", ")
            );
        }
        if !chosen.iter().any(|suite| suite == name) {
            chosen.push((*name).to_owned());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_suites_run_once_in_the_order_of_the_words() {
        let all = modules("//! Suites.\n\nmod cni;\nmod host;\nmod smoke;\n");
        assert_eq!(all, ["cni", "host", "smoke"]);
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert_eq!(
            chosen(&all, &["smoke", "cni", "smoke"]).unwrap(),
            ["smoke", "cni"]
        );
        let error = chosen(&all, &["cni", "cnj"]).unwrap_err().to_string();
        assert!(error.contains("`cnj`"), "{error}");
        assert!(error.ends_with("cni, host, smoke"), "{error}");
    }

    /// The filter of a test program matches anywhere in a test's name.
    #[test]
    fn filter_selects_one_suite_only() {
        for kind in [Kind::Guest, Kind::Kube] {
            let all = kind.suites().unwrap();
            assert!(all.len() > 5, "{all:?}");
            for suite in &all {
                let matched = all.iter().filter(|other| other.ends_with(suite.as_str()));
                assert_eq!(matched.count(), 1, "{suite}");
            }
        }
    }
}
