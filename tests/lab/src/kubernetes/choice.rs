//! What `cargo lab kubernetes` runs, from its words.

use super::{NEWEST, ROUNDS};

/// Version, rounds and suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice<'words> {
    /// Name of the node in the output.
    pub(super) node: &'static str,
    /// Version of Kubernetes: major and minor number.
    pub(super) version: &'words str,
    /// How often the suite `life` creates and deletes its pods.
    pub(super) rounds: &'words str,
    /// Names of suites; without names, all of them.
    pub(super) suites: &'words [&'words str],
    /// A `sriov-cni` other than the one that the lab builds.
    pub(super) peer_cni: Option<&'words str>,
    /// A `sriov-network-device-plugin` other than the one that the lab builds.
    pub(super) peer_device_plugin: Option<&'words str>,
}

const OPTIONS: [&str; 4] = [
    "--rounds",
    "--version",
    "--peer-cni",
    "--peer-device-plugin",
];

impl Default for Choice<'_> {
    fn default() -> Self {
        Self {
            node: "Kubernetes node",
            version: NEWEST,
            rounds: ROUNDS,
            suites: &[],
            peer_cni: None,
            peer_device_plugin: None,
        }
    }
}

impl<'words> Choice<'words> {
    /// These suites on a node with this name.
    pub(crate) fn of(node: &'static str, suites: &'words [&'words str]) -> Self {
        Self {
            node,
            suites,
            ..Self::default()
        }
    }

    /// Reads the words: options stand before the names of suites or after them.
    pub(super) fn parse(mut words: &'words [&'words str]) -> Self {
        let mut choice = Self::default();
        loop {
            let (option, value, rest) = match words {
                [option, value, rest @ ..] | [rest @ .., option, value]
                    if OPTIONS.contains(option) =>
                {
                    (*option, *value, rest)
                }
                suites => return Self { suites, ..choice },
            };
            match option {
                "--rounds" => choice.rounds = value,
                "--peer-cni" => choice.peer_cni = Some(value),
                "--peer-device-plugin" => choice.peer_device_plugin = Some(value),
                _ => choice.version = value,
            }
            words = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_before_or_after_the_names_of_suites() {
        let words = [
            "--version",
            "1.34",
            "--peer-cni",
            "a/sriov",
            "life",
            "pods",
            "--peer-device-plugin",
            "b",
            "--rounds",
            "50",
        ];
        let choice = Choice {
            version: "1.34",
            rounds: "50",
            suites: &["life", "pods"],
            peer_cni: Some("a/sriov"),
            peer_device_plugin: Some("b"),
            ..Choice::default()
        };
        assert_eq!(Choice::parse(&words), choice);
        assert_eq!(Choice::parse(&[]), Choice::default());
    }
}
