//! What the runtime asks for: environment and standard input, with all mistakes at once; no host is touched here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use sriov_config::NetConf;
use sriov_config::netconf::{CniVersion, is_identifier};
use sriov_host::IfName;

use crate::failure::Failure;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Compare with what was attached.
    Check,
    /// Tell whether ADD could work.
    Status,
    /// Release what the runtime no longer knows.
    Gc,
    /// Tell the versions.
    Version,
}

/// The `CNI_*` variables.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A network that is asked about as a whole.
#[derive(Clone, Debug)]
pub struct NetworkRequest {
    /// Network configuration.
    pub conf: NetConf,
    /// The whole standard input, for delegation.
    pub stdin: String,
    /// Where delegates are looked for.
    pub cni_path: Vec<PathBuf>,
}

/// One attachment that is to be made, compared or undone.
#[derive(Clone, Debug)]
pub struct Request {
    /// The network.
    pub network: NetworkRequest,
    /// Id of the container.
    pub container_id: String,
    /// Name of the interface in the pod.
    pub ifname: IfName,
    /// `CNI_ARGS`.
    pub args: Option<String>,
    /// Path of the pod's network namespace; DEL may come without.
    pub netns: Option<PathBuf>,
    /// Whether the host's own namespace is allowed (`CNI_NETNS_OVERRIDE`).
    pub netns_override: bool,
}

impl Request {
    /// Network configuration.
    pub fn conf(&self) -> &NetConf {
        &self.network.conf
    }
}

impl Verb {
    const ALL: [(&'static str, Self); 6] = [
        ("ADD", Self::Add),
        ("DEL", Self::Del),
        ("CHECK", Self::Check),
        ("STATUS", Self::Status),
        ("GC", Self::Gc),
        ("VERSION", Self::Version),
    ];

    /// The first version of the specification that has it.
    fn since(self) -> CniVersion {
        match self {
            Self::Add | Self::Del | Self::Version => CniVersion::V0_1_0,
            Self::Check => CniVersion::V0_4_0,
            Self::Status | Self::Gc => CniVersion::V1_1_0,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.into_iter().find(|(_, verb)| verb == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self(
            std::env::vars()
                .filter(|(name, _)| name.starts_with("CNI_"))
                .collect(),
        )
    }

    /// Variables from somewhere else.
    pub fn new<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self(
            variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
        )
    }

    /// What is asked for.
    ///
    /// # Errors
    /// [`Failure::Environment`].
    pub fn verb(&self) -> Result<Verb, Failure> {
        let Some(asked) = self.get("CNI_COMMAND") else {
            return Err(missing(&["CNI_COMMAND"]));
        };
        let found = Verb::ALL.into_iter().find(|(name, _)| *name == asked);
        found.map(|(_, verb)| verb).ok_or_else(|| {
            let known = Verb::ALL.map(|(name, _)| name).join(", ");
            Failure::Environment(format!("CNI_COMMAND `{asked}` is not one of {known}"))
        })
    }

    /// The network that STATUS or GC is about.
    ///
    /// # Errors
    /// [`Failure::NetConf`], [`Failure::TooOld`].
    pub fn network(&self, verb: Verb, stdin: &str) -> Result<NetworkRequest, Failure> {
        if verb == Verb::Gc && self.get("CNI_PATH").is_none() {
            return Err(missing(&["CNI_PATH"]));
        }
        let (conf, mistakes) = NetConf::parse_for_release(stdin).map_err(Failure::NetConf)?;
        for mistake in mistakes {
            tracing::warn!("network configuration: {mistake}");
        }
        self.with_conf(verb, stdin, conf)
    }

    /// The attachment that is meant.
    ///
    /// # Errors
    /// [`Failure::Environment`] with all variables that are missing or wrong, [`Failure::NetConf`] with all mistakes of the configuration,
    /// [`Failure::TooOld`].
    pub fn request(&self, verb: Verb, stdin: &str) -> Result<Request, Failure> {
        let netns = self.get("CNI_NETNS");
        let mut absent: Vec<&str> = ["CNI_CONTAINERID", "CNI_IFNAME"]
            .into_iter()
            .filter(|name| self.get(name).is_none())
            .collect();
        if verb != Verb::Del && netns.is_none() {
            absent.push("CNI_NETNS");
        }
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        let mut mistakes = Vec::new();
        let container_id = self.get("CNI_CONTAINERID").unwrap_or_default().to_owned();
        if !is_identifier(&container_id) {
            mistakes.push(format!("CNI_CONTAINERID `{container_id}` is not an id: expected a letter or digit, then letters, digits, `_`, `.` and `-`"));
        }
        let ifname = self.get("CNI_IFNAME").unwrap_or_default().parse::<IfName>();
        mistakes.extend(
            ifname
                .as_ref()
                .err()
                .map(|error| format!("CNI_IFNAME: {error}")),
        );
        let (Ok(ifname), true) = (ifname, mistakes.is_empty()) else {
            return Err(Failure::Environment(mistakes.join("; ")));
        };
        let network = if verb == Verb::Add {
            let conf = NetConf::parse(stdin, self.get("CNI_ARGS")).map_err(Failure::NetConf)?;
            self.with_conf(verb, stdin, conf)?
        } else {
            // What could not be attached can be released; and CNI_ARGS may be those of an older configuration: only ADD judges them.
            self.network(verb, stdin)?
        };
        Ok(Request {
            network,
            container_id,
            ifname,
            args: self.get("CNI_ARGS").map(str::to_owned),
            netns: netns.map(PathBuf::from),
            netns_override: matches!(
                self.get("CNI_NETNS_OVERRIDE"),
                Some("1" | "true" | "True" | "TRUE")
            ),
        })
    }

    fn with_conf(&self, verb: Verb, stdin: &str, conf: NetConf) -> Result<NetworkRequest, Failure> {
        if conf.version < verb.since() {
            return Err(Failure::TooOld {
                verb,
                since: verb.since(),
                version: conf.version,
            });
        }
        Ok(NetworkRequest {
            conf,
            stdin: stdin.to_owned(),
            cni_path: self
                .get("CNI_PATH")
                .map(|path| path.split(':').map(PathBuf::from).collect())
                .unwrap_or_default(),
        })
    }

    /// A variable; an empty one is like none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

fn missing(names: &[&str]) -> Failure {
    Failure::Environment(format!(
        "required env variables [{}] missing",
        names.join(",")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str =
        r#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "deviceID": "0000:01:10.0"}"#;

    #[test]
    fn all_missing_variables_are_named_together() {
        let error = Environment::new([("CNI_COMMAND", "ADD")])
            .request(Verb::Add, CONF)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_NETNS] missing"
        );
        let error = Environment::new([("CNI_CONTAINERID", "c")])
            .request(Verb::Del, CONF)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "required env variables [CNI_IFNAME] missing"
        );
    }

    #[test]
    fn wrong_names_are_refused() {
        for (id, ifname) in [
            ("../x", "net1"),
            ("c", "a/b"),
            ("c", "1234567890123456"),
            ("-c", "net1"),
        ] {
            let environment = Environment::new([
                ("CNI_CONTAINERID", id),
                ("CNI_IFNAME", ifname),
                ("CNI_NETNS", "/x"),
            ]);
            assert!(
                matches!(
                    environment.request(Verb::Add, CONF),
                    Err(Failure::Environment(_))
                ),
                "{id} {ifname}"
            );
        }
    }

    #[test]
    fn an_unknown_verb_is_refused() {
        assert!(Environment::new([("CNI_COMMAND", "PAUSE")]).verb().is_err());
        assert!(Environment::default().verb().is_err());
        for (name, verb) in Verb::ALL {
            assert_eq!(
                Environment::new([("CNI_COMMAND", name)]).verb().unwrap(),
                verb
            );
            assert_eq!(verb.to_string(), name);
        }
    }

    #[test]
    fn a_verb_that_the_version_does_not_have_is_refused() {
        let environment = Environment::new([
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "net1"),
            ("CNI_NETNS", "/x"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let conf = |version: &str| CONF.replace("1.0.0", version);
        assert_eq!(
            environment
                .request(Verb::Check, &conf("0.3.1"))
                .unwrap_err()
                .code(),
            1
        );
        assert!(environment.request(Verb::Check, &conf("0.4.0")).is_ok());
        for verb in [Verb::Status, Verb::Gc] {
            assert_eq!(
                environment
                    .network(verb, &conf("1.0.0"))
                    .unwrap_err()
                    .code(),
                1
            );
            assert!(environment.network(verb, &conf("1.1.0")).is_ok());
        }
    }
}
