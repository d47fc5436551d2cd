//! The `CNI_*` variables, and the requests that they and standard input describe.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sriov_config::NetConf;
use sriov_config::netconf::is_identifier;
use sriov_host::IfName;

use super::attachment::{NetworkRequest, Request};
use super::error::RequestError;
use super::verb::Verb;

/// The `CNI_*` variables; a value may be any bytes.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        let all =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(all.filter(|(name, _)| name.starts_with("CNI_")).collect())
    }

    /// These variables.
    pub fn new<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let variables = variables.into_iter();
        Self(
            variables
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    }

    /// The value of a variable as text, with the replacement character for bytes that are not UTF-8; an empty value counts as absent.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(OsStr::to_string_lossy)
    }

    /// The value of a variable; an empty value counts as absent.
    fn bytes(&self, name: &str) -> Option<&OsStr> {
        let value = self.0.get(name).map(OsString::as_os_str);
        value.filter(|value| !value.is_empty())
    }

    /// The requested verb.
    ///
    /// # Errors
    /// When `CNI_COMMAND` is missing or unknown.
    pub fn verb(&self) -> Result<Verb, RequestError> {
        let Some(command) = self.get("CNI_COMMAND") else {
            return Err(RequestError::missing(&["CNI_COMMAND"]));
        };
        let found = Verb::ALL.into_iter().find(|(name, _)| *name == command);
        found.map(|(_, verb)| verb).ok_or_else(|| {
            let known = Verb::ALL.map(|(name, _)| name).join(", ");
            RequestError::Environment(format!("CNI_COMMAND `{command}` is not one of {known}"))
        })
    }

    /// The network that STATUS or GC is about.
    ///
    /// # Errors
    /// [`RequestError::NetConf`], [`RequestError::TooOld`].
    pub(crate) fn network(&self, verb: Verb, stdin: &str) -> Result<NetworkRequest, RequestError> {
        if verb == Verb::Gc && self.get("CNI_PATH").is_none() {
            return Err(RequestError::missing(&["CNI_PATH"]));
        }
        let (conf, mistakes) = NetConf::parse_for_release(stdin)?;
        for mistake in mistakes {
            tracing::warn!(%mistake, "ignoring a mistake in the network configuration");
        }
        self.with_conf(verb, stdin, conf)
    }

    /// The attachment that ADD, DEL or CHECK is about.
    ///
    /// # Errors
    /// [`RequestError::Environment`] with all variables that are missing or invalid, [`RequestError::NetConf`] with all mistakes of the configuration,
    /// [`RequestError::TooOld`].
    pub(crate) fn request(&self, verb: Verb, stdin: &str) -> Result<Request, RequestError> {
        self.ensure_complete(verb)?;
        let (container_id, ifname) = self.attachment(verb)?;
        let network = if verb == Verb::Add {
            let conf = NetConf::parse(stdin, self.get("CNI_ARGS").as_deref())?;
            for warning in &conf.warnings {
                tracing::warn!(%warning, "a key of the network configuration has no effect");
            }
            self.with_conf(verb, stdin, conf)?
        } else {
            // Only ADD judges values and CNI_ARGS: an attachment that an older configuration made must stay releasable.
            self.network(verb, stdin)?
        };
        Ok(Request {
            network,
            container_id,
            ifname,
            args: self.get("CNI_ARGS").map(Cow::into_owned),
            netns: self.bytes("CNI_NETNS").map(PathBuf::from),
            netns_override: matches!(
                self.get("CNI_NETNS_OVERRIDE").as_deref(),
                Some("1" | "true" | "True" | "TRUE")
            ),
        })
    }

    fn ensure_complete(&self, verb: Verb) -> Result<(), RequestError> {
        let mut absent: Vec<&str> = ["CNI_CONTAINERID", "CNI_IFNAME"]
            .into_iter()
            .filter(|name| self.get(name).is_none())
            .collect();
        if verb != Verb::Del && self.get("CNI_NETNS").is_none() {
            absent.push("CNI_NETNS");
        }
        if !absent.is_empty() {
            return Err(RequestError::missing(&absent));
        }
        // The journal is text, and DEL must find the namespace by its path.
        let netns = self.bytes("CNI_NETNS").filter(|_| verb == Verb::Add);
        match netns.filter(|netns| netns.to_str().is_none()) {
            Some(netns) => Err(RequestError::Environment(format!(
                "CNI_NETNS `{}` is not UTF-8",
                netns.display()
            ))),
            None => Ok(()),
        }
    }

    /// Container id and interface name, with the mistakes of both in one error.
    ///
    /// Earlier versions accepted names with `%`: such an attachment must stay releasable.
    fn attachment(&self, verb: Verb) -> Result<(String, IfName), RequestError> {
        let mut mistakes = Vec::new();
        let container_id = self.get("CNI_CONTAINERID").unwrap_or_default();
        if !is_identifier(&container_id) {
            mistakes.push(format!("CNI_CONTAINERID `{container_id}` is not an id: expected a letter or digit, then letters, digits, `_`, `.` and `-`"));
        }
        let ifname = self.get("CNI_IFNAME").unwrap_or_default();
        let ifname = if verb == Verb::Add {
            ifname.parse()
        } else {
            IfName::with_percent(&ifname)
        };
        match ifname {
            Ok(ifname) if mistakes.is_empty() => return Ok((container_id.into_owned(), ifname)),
            Ok(_) => {}
            Err(error) => mistakes.push(format!("CNI_IFNAME: {error}")),
        }
        Err(RequestError::Environment(mistakes.join("; ")))
    }

    fn with_conf(
        &self,
        verb: Verb,
        stdin: &str,
        conf: NetConf,
    ) -> Result<NetworkRequest, RequestError> {
        if conf.version < verb.since() {
            return Err(RequestError::TooOld {
                verb,
                since: verb.since(),
                version: conf.version,
            });
        }
        let cni_path = self.bytes("CNI_PATH").map(env::split_paths);
        Ok(NetworkRequest {
            conf,
            stdin: stdin.to_owned(),
            cni_path: cni_path.into_iter().flatten().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str =
        r#"{"cniVersion": "1.0.0", "name": "n", "type": "sriov", "deviceID": "0000:01:10.0"}"#;

    #[test]
    fn missing_variables_are_named_together() {
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
    fn invalid_names_are_refused() {
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
                    Err(RequestError::Environment(_))
                ),
                "{id} {ifname}"
            );
        }
    }

    #[test]
    fn name_with_a_percent_sign_is_released_but_not_added() {
        let environment = Environment::new([
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "net%d"),
            ("CNI_NETNS", "/x"),
        ]);
        let refused = environment.request(Verb::Add, CONF).unwrap_err();
        assert!(
            refused.to_string().starts_with("CNI_IFNAME: `net%d`"),
            "{refused}"
        );
        assert!(environment.request(Verb::Del, CONF).is_ok());
    }

    #[test]
    fn unknown_verb_is_refused() {
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
    fn verb_newer_than_the_configuration_is_refused() {
        let environment = Environment::new([
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "net1"),
            ("CNI_NETNS", "/x"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]);
        let conf = |version: &str| CONF.replace("1.0.0", version);
        let refused = environment.request(Verb::Check, &conf("0.3.1"));
        assert!(matches!(refused, Err(RequestError::TooOld { .. })));
        assert!(environment.request(Verb::Check, &conf("0.4.0")).is_ok());
        for verb in [Verb::Status, Verb::Gc] {
            let refused = environment.network(verb, &conf("1.0.0"));
            assert!(matches!(refused, Err(RequestError::TooOld { .. })));
            assert!(environment.network(verb, &conf("1.1.0")).is_ok());
        }
    }
}
