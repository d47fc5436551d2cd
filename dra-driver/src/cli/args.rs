//! Parses the command line; a few settings come from the environment of the pod.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use sriov_host::HostRoot;
use sriov_node::flags::{ArgsError, is_true, log_level, metrics_address, prefix};

use crate::settings::{DRIVER, DriverName, InvalidName, NodeName, Settings};

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Run the daemon.
    Run(Box<Settings>),
    /// Show a claim.
    ExplainClaim(Box<Settings>, ClaimName),
    /// Print a text.
    Print(String),
}

/// Namespace and name of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A wrong command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrongLine {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error("--driver-name {0}")]
    Driver(#[source] InvalidName),
    #[error("--node-name {0}")]
    Node(#[source] InvalidName),
    #[error("there must be a --node-name or the environment variable NODE_NAME")]
    NoNode,
    #[error("`{0}` is not a claim: expected NAMESPACE/NAME")]
    Claim(String),
}

const VERSION: &str = concat!("sriov-dra-driver ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
usage: sriov-dra-driver [FLAGS]
       sriov-dra-driver [FLAGS] explain-claim NAMESPACE/NAME   show which devices a claim got, and for whom

  --node-name NAME          this node (default: the environment variable NODE_NAME)
  --driver-name NAME        name of the driver in slices and claims (default sriov.virtfn.dev)
  --kubeconfig FILE         how to reach the API server (default: the service account of the pod)
  --config-file FILE        resource list (default /etc/pcidp/config.json)
  --resource-prefix PREFIX  prefix of resources that name none (default intel.com)
  --kubelet-dir DIR         the kubelet's root directory (default /var/lib/kubelet)
  --devinfo-dir DIR         device-info files (default /var/run/k8s.cni.cncf.io/devinfo/dp)
  --cdi-dir DIR             CDI specifications (default /var/run/cdi)
  --cni-dir DIR             the CNI plugin's state (default /var/lib/cni/sriov)
  --cni-plugin FILE         the CNI plugin (default /opt/cni/bin/sriov)
  --metrics-address ADDR    serve /metrics, /healthz and /readyz on HOST:PORT; a PORT alone is on loopback (default: off)
  --sriovnetwork-names BOOL  also use the attributes, parameters and variables of dra-driver-sriov (default false)
  --host-root DIR           root below which sys, proc and dev are read (default /)
  --log-level LEVEL         error, warn, info, debug, trace
  --version, --help

The environment variable POD_UID distinguishes the instances of a rolling update. SIGHUP reads configuration and devices again.
Exit codes: 0 success, 1 the command failed, 2 a wrong command line.
";

/// Reads a command line; the first word is the program's name.
///
/// # Errors
/// One sentence that names the flag.
pub(crate) fn parse(
    words: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Invocation, WrongLine> {
    let mut parser = Parser::from_iter(words);
    let mut line = Line::default();
    while let Some(argument) = parser.next().map_err(ArgsError::from)? {
        let flag = match argument {
            Long(flag) => flag.to_owned(),
            Short('h') => "help".to_owned(),
            Value(word) => {
                line.words.push(word.string().map_err(ArgsError::from)?);
                continue;
            }
            Short(_) => return Err(ArgsError::from(argument.unexpected()).into()),
        };
        match flag.as_str() {
            "help" => return Ok(Invocation::Print(HELP.to_owned())),
            "version" => return Ok(Invocation::Print(VERSION.to_owned())),
            flag => line.set(flag, &mut parser)?,
        }
    }
    line.into_invocation(environment)
}

/// A change of the settings by a flag.
type Change = Box<dyn FnOnce(&mut Settings)>;

/// The command line so far.
#[derive(Default)]
struct Line {
    driver: Option<String>,
    node: Option<String>,
    changes: Vec<Change>,
    /// Subcommand and operand.
    words: Vec<String>,
}

impl Line {
    fn set(&mut self, flag: &str, parser: &mut Parser) -> Result<(), ArgsError> {
        let change: Change = match flag {
            "driver-name" => {
                self.driver = Some(parser.value()?.string()?);
                return Ok(());
            }
            "node-name" => {
                self.node = Some(parser.value()?.string()?);
                return Ok(());
            }
            "resource-prefix" => {
                let prefix = prefix(parser.value()?.string()?)?;
                Box::new(|settings| settings.resource_prefix = prefix)
            }
            "log-level" => {
                let level = log_level(&parser.value()?.string()?)?;
                Box::new(move |settings| settings.log_level = level)
            }
            "sriovnetwork-names" => {
                let value = parser.value()?.string()?;
                let value = is_true("sriovnetwork-names", Some(&value))?;
                Box::new(move |settings| settings.has_sriovnetwork_names = value)
            }
            "metrics-address" => {
                let address = metrics_address(parser.value()?.string()?)?;
                Box::new(move |settings| settings.metrics_address = address)
            }
            _ => path_flag(flag, parser)?,
        };
        self.changes.push(change);
        Ok(())
    }

    fn into_invocation(
        self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Invocation, WrongLine> {
        let claim = match self.words.as_slice() {
            [command, claim] if command == "explain-claim" => Some(claim_name(claim)?),
            [command] if command == "explain-claim" => {
                let operand = "a claim, NAMESPACE/NAME";
                let command = "explain-claim";
                return Err(ArgsError::Operand { command, operand }.into());
            }
            [] => None,
            [known, _, word, ..] if known == "explain-claim" => return Err(unexpected(word)),
            [word, ..] => return Err(unexpected(word)),
        };
        let driver = self.driver.unwrap_or_else(|| DRIVER.to_owned());
        let driver: DriverName = driver.parse().map_err(WrongLine::Driver)?;
        let node = self.node.or_else(|| environment("NODE_NAME"));
        let node = node.ok_or(WrongLine::NoNode)?;
        let node: NodeName = node.parse().map_err(WrongLine::Node)?;
        let mut settings = Settings::of(driver, node);
        settings.pod_uid = environment("POD_UID").filter(|uid| !uid.is_empty());
        for change in self.changes {
            change(&mut settings);
        }
        let settings = Box::new(settings);
        Ok(match claim {
            Some(claim) => Invocation::ExplainClaim(settings, claim),
            None => Invocation::Run(settings),
        })
    }
}

fn path_flag(flag: &str, parser: &mut Parser) -> Result<Change, ArgsError> {
    let change: fn(&mut Settings, PathBuf) = match flag {
        "kubeconfig" => |settings, path| settings.kubeconfig = Some(path),
        "config-file" => |settings, path| settings.config_file = path,
        "kubelet-dir" => |settings, path| settings.kubelet_dir = path,
        "devinfo-dir" => |settings, path| settings.devinfo_dir = path,
        "cdi-dir" => |settings, path| settings.cdi_dir = path,
        "cni-dir" => |settings, path| settings.cni_dir = path,
        "cni-plugin" => |settings, path| settings.cni_plugin = path,
        "host-root" => |settings, path| settings.host = HostRoot::new(path),
        _ => return Err(Long(flag).unexpected().into()),
    };
    let path = parser.value()?.into();
    Ok(Box::new(move |settings| change(settings, path)))
}

fn claim_name(text: &str) -> Result<ClaimName, WrongLine> {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, name] if !namespace.is_empty() && !name.is_empty() => Ok(ClaimName {
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
        }),
        _ => Err(WrongLine::Claim(text.to_owned())),
    }
}

fn unexpected(word: &str) -> WrongLine {
    ArgsError::from(Value(word.into()).unexpected()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, WrongLine> {
        let words = std::iter::once("program").chain(line.split_whitespace());
        let environment = |name: &str| (name == "POD_UID").then(|| "u-1".to_owned());
        parse(words.map(OsString::from), environment)
    }

    #[test]
    fn flags_are_accepted_around_a_subcommand() {
        let line = "--node-name n1 explain-claim ns/c --kubeconfig /k --metrics-address 9809";
        let Ok(Invocation::ExplainClaim(settings, claim)) = read(line) else {
            panic!("{line}")
        };
        assert_eq!((claim.namespace.as_str(), claim.name.as_str()), ("ns", "c"));
        assert_eq!(settings.kubeconfig, Some("/k".into()));
        assert_eq!(settings.pod_uid.as_deref(), Some("u-1"));
        assert_eq!(settings.driver.as_str(), DRIVER);
        let address = settings.metrics_address.map(|address| address.to_string());
        assert_eq!(address.as_deref(), Some("127.0.0.1:9809"));
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (line, word) in [
            ("--nonsense", "nonsense"),
            ("explain-claim ns/c", "NODE_NAME"),
            ("--node-name N explain-claim ns/c", "`N`"),
            ("--node-name n --driver-name X explain-claim ns/c", "`X`"),
            ("--node-name n explain-claim c", "`c`"),
            ("--node-name n explain-claim", "explain-claim"),
            ("--node-name n explain-claim a/b c", "c"),
            ("word", "word"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
