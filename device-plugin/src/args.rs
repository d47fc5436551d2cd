//! The command line: the flags of the Go program and of its container's entry point, and our own.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use sriov_config::resources::ResourceName;
use sriov_host::HostRoot;
use tracing::level_filters::LevelFilter;

use crate::tool::Command;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To run.
    Run(Setup),
    /// To look and tell.
    Tell(Setup, Command),
    /// A text.
    Print(String),
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Configuration file.
    pub config_file: PathBuf,
    /// Prefix of resources that name none.
    pub resource_prefix: String,
    /// kubelet's root directory.
    pub kubelet_dir: PathBuf,
    /// Directory of the device-info files.
    pub devinfo_dir: PathBuf,
    /// Directory of the CDI specifications, when devices are given by them.
    pub cdi_dir: Option<PathBuf>,
    /// State directory of the CNI plugin; only read.
    pub cni_dir: PathBuf,
    /// Where metrics and probes are served, when they are.
    pub metrics_address: Option<SocketAddr>,
    /// The machine.
    pub host: HostRoot,
    /// How to register.
    pub registration: Registration,
    /// What is logged.
    pub log_level: LevelFilter,
}

/// How to register with kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// By the Register call; by a socket in `plugins_registry` where kubelet has only that directory.
    Auto,
    /// By a socket in `plugins_registry`.
    Watcher,
    /// By the Register call.
    Legacy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config_file: "/etc/pcidp/config.json".into(),
            resource_prefix: "intel.com".to_owned(),
            kubelet_dir: "/var/lib/kubelet".into(),
            devinfo_dir: "/var/run/k8s.cni.cncf.io/devinfo/dp".into(),
            cdi_dir: None,
            metrics_address: None,
            cni_dir: "/var/lib/cni/sriov".into(),
            host: HostRoot::default(),
            registration: Registration::Auto,
            log_level: LevelFilter::INFO,
        }
    }
}

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// An unknown flag, or a flag without its value.
    #[error("{0}")]
    Flag(#[from] lexopt::Error),
    /// A value that a flag cannot have.
    #[error("--{flag} `{value}` is not one of {allowed}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// The value.
        value: String,
        /// What it can have.
        allowed: &'static str,
    },
    /// A subcommand without the word that it is about.
    #[error("`{command}` needs {operand}")]
    Operand {
        /// The subcommand.
        command: &'static str,
        /// What it needs.
        operand: &'static str,
    },
}

const HELP: &str = "\
usage: sriov-device-plugin [FLAGS]
       sriov-device-plugin [FLAGS] check-config FILE [--explain]   tell all mistakes of a resource list; with --explain its pools here
       sriov-device-plugin [FLAGS] inventory [--json]              list the devices: role, driver, pool, health, holder
       sriov-device-plugin [FLAGS] explain DEVICE|RESOURCE         why a device is in a pool or in none

  --config-file FILE        resource list (default /etc/pcidp/config.json)
  --resource-prefix PREFIX  prefix of resources that name none (default intel.com)
  --kubelet-dir DIR         kubelet's root directory (default /var/lib/kubelet)
  --devinfo-dir DIR         device-info files (default /var/run/k8s.cni.cncf.io/devinfo/dp)
  --use-cdi                 give devices by CDI specifications instead of device nodes
  --cdi-dir DIR             CDI specifications (default /var/run/cdi)
  --cni-dir DIR             the CNI plugin's state, only read (default /var/lib/cni/sriov)
  --metrics-address ADDR    serve /metrics, /healthz and /readyz on HOST:PORT; a PORT alone is on loopback (default: not at all)
  --host-root DIR           root below which sys, proc and dev are read (default /)
  --registration MODE       auto, watcher or legacy (default auto)
  --log-level LEVEL         error, warn, info, debug, trace, or a number as the Go program takes it
  --version, --help

The logging flags of the Go program are accepted and have no effect. SIGHUP reads configuration and devices again.
Exit codes: 0 good, 1 a mistake was found or nothing could be done, 2 a wrong command line.
";

/// Reads a command line; the first word is the program's name.
///
/// # Errors
/// One sentence that names the flag.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, ArgsError> {
    // Go takes `-flag` for `--flag`.
    let words = words.into_iter().map(|word| match word.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            OsString::from(format!("-{text}"))
        }
        Some(_) | None => word,
    });
    let mut parser = lexopt::Parser::from_iter(words);
    let mut setup = Setup::default();
    let mut words: Vec<String> = Vec::new();
    let (mut is_json, mut is_explained) = (false, false);
    let (mut use_cdi, mut cdi_dir) = (false, PathBuf::from("/var/run/cdi"));
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config-file") => setup.config_file = parser.value()?.into(),
            Long("resource-prefix") => setup.resource_prefix = prefix(parser.value()?.string()?)?,
            Long("kubelet-dir") => setup.kubelet_dir = parser.value()?.into(),
            Long("devinfo-dir") => setup.devinfo_dir = parser.value()?.into(),
            Long("host-root") => setup.host = HostRoot::new(PathBuf::from(parser.value()?)),
            Long("registration") => setup.registration = registration(&parser.value()?.string()?)?,
            Long("log-level") => setup.log_level = log_level(&parser.value()?.string()?)?,
            Long("use-cdi") => {
                let value = parser.optional_value().map(ValueExt::string).transpose()?;
                use_cdi = is_true("use-cdi", value.as_deref())?;
            }
            Long("cni-dir") => setup.cni_dir = parser.value()?.into(),
            Long("metrics-address") => {
                let value = parser.value()?.string()?;
                setup.metrics_address = metrics_address(value)?;
            }
            Long("cdi-dir") => cdi_dir = parser.value()?.into(),
            Long(
                "log-dir" | "log_dir" | "log_backtrace_at" | "log_link" | "logbuflevel"
                | "stderrthreshold" | "v" | "vmodule",
            )
            | Short('v') => {
                parser.value()?;
            }
            Long("alsologtostderr" | "logtostderr") => {
                parser.optional_value();
            }
            Long("version") => {
                return Ok(Asked::Print(format!(
                    "sriov-device-plugin {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            Long("help") | Short('h') => return Ok(Asked::Print(HELP.to_owned())),
            Long("json") if is_command(&words, "inventory") => is_json = true,
            Long("explain") if is_command(&words, "check-config") => is_explained = true,
            Value(word) if words.len() < 2 && !is_command(&words, "inventory") => {
                let word = word.string()?;
                let is_known = ["check-config", "inventory", "explain"].contains(&word.as_str());
                if words.is_empty() && !is_known {
                    return Err(Value(word.into()).unexpected().into());
                }
                words.push(word);
            }
            other @ (Long(_) | Short(_) | Value(_)) => {
                return Err(other.unexpected().into());
            }
        }
    }
    setup.cdi_dir = use_cdi.then_some(cdi_dir);
    let operand = |command, operand| {
        let word = words.get(1).cloned();
        word.ok_or(ArgsError::Operand { command, operand })
    };
    let command = match words.first().map(String::as_str) {
        Some("check-config") => Command::CheckConfig {
            file: operand("check-config", "a file, or - for standard input")?.into(),
            is_explained,
        },
        Some("explain") => Command::Explain {
            subject: operand("explain", "a device or a resource")?,
        },
        Some(_) => Command::Inventory { is_json },
        None => return Ok(Asked::Run(setup)),
    };
    Ok(Asked::Tell(setup, command))
}

fn is_command(words: &[String], command: &str) -> bool {
    words.first().is_some_and(|word| word == command)
}

/// A flag with or without value, as Go's `flag` takes it (`strconv.ParseBool`).
fn is_true(flag: &'static str, value: Option<&str>) -> Result<bool, ArgsError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(ArgsError::Value {
            flag,
            value: value.to_owned(),
            allowed: "true, false",
        }),
    }
}

/// An address, a port on loopback, or nothing.
fn metrics_address(value: String) -> Result<Option<SocketAddr>, ArgsError> {
    if value.is_empty() {
        return Ok(None);
    }
    let port = value.strip_prefix(':').unwrap_or(&value).parse();
    let address = match port {
        Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_not_a_port) => value.parse().ok(),
    };
    address.map(Some).ok_or(ArgsError::Value {
        flag: "metrics-address",
        value,
        allowed: "HOST:PORT with a numeric host, PORT",
    })
}

/// An empty one is the default, as in a resource.
fn prefix(value: String) -> Result<String, ArgsError> {
    if value.is_empty() {
        return Ok(Setup::default().resource_prefix);
    }
    match ResourceName::new(&value, "any") {
        Ok(_) => Ok(value),
        Err(_) => Err(ArgsError::Value {
            flag: "resource-prefix",
            value,
            allowed: "the DNS subdomains that kubelet takes, for instance intel.com",
        }),
    }
}

fn registration(value: &str) -> Result<Registration, ArgsError> {
    match value {
        "auto" => Ok(Registration::Auto),
        "watcher" => Ok(Registration::Watcher),
        "legacy" => Ok(Registration::Legacy),
        _ => Err(ArgsError::Value {
            flag: "registration",
            value: value.to_owned(),
            allowed: "auto, watcher, legacy",
        }),
    }
}

/// A number is a verbosity of the Go program, which has no effect there: every manifest passes 10.
fn log_level(value: &str) -> Result<LevelFilter, ArgsError> {
    match value {
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        number if number == "info" || number.parse::<u32>().is_ok() => Ok(LevelFilter::INFO),
        _ => Err(ArgsError::Value {
            flag: "log-level",
            value: value.to_owned(),
            allowed: "error, warn, info, debug, trace, or a number",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked, ArgsError> {
        parse(
            std::iter::once("program")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn the_lines_of_todays_manifests_are_accepted() {
        for line in [
            "--log-level=10 --resource-prefix=intel.com --config-file=/etc/pcidp/node1",
            "-config-file /c -resource-prefix x.y -logtostderr -v 10 -use-cdi=false",
            "--log-dir=sriovdp --log-level=10",
            "-v=4 -stderrthreshold=INFO -alsologtostderr=true -log_dir /l -log-level 10 -vmodule a=1",
            "",
        ] {
            assert!(matches!(read(line), Ok(Asked::Run(_))), "{line}");
        }
        let Ok(Asked::Run(setup)) = read("-config-file /c --registration legacy") else {
            panic!()
        };
        assert_eq!(
            (setup.config_file, setup.registration),
            ("/c".into(), Registration::Legacy)
        );
    }

    #[test]
    fn cdi_mode_is_asked_for_as_go_asks() {
        for (line, dir) in [
            ("--use-cdi", Some("/var/run/cdi")),
            ("-use-cdi=true --cdi-dir /d", Some("/d")),
            ("--use-cdi=false", None),
            ("--cdi-dir /d", None),
        ] {
            let Ok(Asked::Run(setup)) = read(line) else {
                panic!("{line}")
            };
            assert_eq!(setup.cdi_dir, dir.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn metrics_are_off_and_on_loopback_unless_a_host_is_named() {
        for (value, address) in [
            ("", None),
            ("9808", Some("127.0.0.1:9808")),
            (":9808", Some("127.0.0.1:9808")),
            ("0.0.0.0:9808", Some("0.0.0.0:9808")),
            ("[::]:9808", Some("[::]:9808")),
        ] {
            let Ok(Asked::Run(setup)) = read(&format!("--metrics-address={value}")) else {
                panic!("{value}")
            };
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(setup.metrics_address, expected, "{value}");
        }
        assert_eq!(Setup::default().metrics_address, None);
    }

    #[test]
    fn flags_stand_before_and_after_a_subcommand() {
        let Ok(Asked::Tell(setup, command)) =
            read("-resource-prefix x.y check-config f.json --explain --host-root /r")
        else {
            panic!()
        };
        assert_eq!(setup.resource_prefix, "x.y");
        assert_eq!(setup.host, HostRoot::new("/r"));
        let (file, is_explained) = ("f.json".into(), true);
        assert_eq!(command, Command::CheckConfig { file, is_explained });
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (line, word) in [
            ("--nonsense", "nonsense"),
            ("--registration=x", "`x`"),
            ("--resource-prefix=Bad/x", "`Bad/x`"),
            ("--log-level=x", "`x`"),
            ("--metrics-address=somewhere", "`somewhere`"),
            ("--use-cdi=maybe", "`maybe`"),
            ("word", "word"),
        ] {
            assert!(read(line).unwrap_err().to_string().contains(word), "{line}");
        }
    }
}
