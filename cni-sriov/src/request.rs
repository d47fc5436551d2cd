//! What the runtime asks for: environment and standard input, with all mistakes at once; no host is touched here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sriov_config::NetConf;
use sriov_config::netconf::is_identifier;
use sriov_host::IfName;

use crate::failure::Failure;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Tell the versions.
    Version,
}

/// The `CNI_*` variables.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// One attachment that is to be made or undone.
#[derive(Clone, Debug)]
pub struct Request {
    /// Network configuration.
    pub conf: NetConf,
    /// The whole standard input, for delegation.
    pub stdin: String,
    /// Id of the container.
    pub container_id: String,
    /// Name of the interface in the pod.
    pub ifname: IfName,
    /// Path of the pod's network namespace; DEL may come without.
    pub netns: Option<PathBuf>,
    /// Whether the host's own namespace is allowed (`CNI_NETNS_OVERRIDE`).
    pub netns_override: bool,
    /// Where delegates are looked for.
    pub cni_path: Vec<PathBuf>,
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
        match self.get("CNI_COMMAND") {
            Some("ADD") => Ok(Verb::Add),
            Some("DEL") => Ok(Verb::Del),
            Some("VERSION") => Ok(Verb::Version),
            Some(other) => Err(Failure::Environment(format!(
                "CNI_COMMAND `{other}` is not one of ADD, DEL, VERSION"
            ))),
            None => Err(Failure::Environment(
                "required env variables [CNI_COMMAND] missing".to_owned(),
            )),
        }
    }

    /// The attachment that is meant.
    ///
    /// # Errors
    /// [`Failure::Environment`] with all variables that are missing or wrong, [`Failure::NetConf`] with all mistakes of the configuration.
    pub fn request(&self, verb: Verb, stdin: &str) -> Result<Request, Failure> {
        let netns = self.get("CNI_NETNS");
        let mut missing: Vec<&str> = ["CNI_CONTAINERID", "CNI_IFNAME"]
            .into_iter()
            .filter(|name| self.get(name).is_none())
            .collect();
        if verb == Verb::Add && netns.is_none() {
            missing.push("CNI_NETNS");
        }
        if !missing.is_empty() {
            return Err(Failure::Environment(format!(
                "required env variables [{}] missing",
                missing.join(",")
            )));
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
        // CNI_ARGS of a DEL may be those of an older configuration: only ADD judges them.
        let args = if verb == Verb::Add {
            self.get("CNI_ARGS")
        } else {
            None
        };
        Ok(Request {
            conf: NetConf::parse(stdin, args).map_err(Failure::NetConf)?,
            stdin: stdin.to_owned(),
            container_id,
            ifname,
            netns: netns.map(PathBuf::from),
            netns_override: matches!(
                self.get("CNI_NETNS_OVERRIDE"),
                Some("1" | "true" | "True" | "TRUE")
            ),
            cni_path: self
                .get("CNI_PATH")
                .map(|path| path.split(':').map(PathBuf::from).collect())
                .unwrap_or_default(),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
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
    }
}
