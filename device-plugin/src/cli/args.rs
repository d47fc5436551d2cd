//! Parses the command line: the flags of the Go program and of its container's entry point, and our own.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use sriov_host::HostRoot;
use sriov_node::flags::{ArgsError, is_true, log_level, metrics_address, prefix};

use super::command::Command;
use crate::settings::{Registration, Settings};

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    /// Run the daemon.
    Run(Settings),
    /// Run a subcommand.
    Subcommand(Settings, Command),
    /// Print a text.
    Print(String),
}

const VERSION: &str = concat!("sriov-device-plugin ", env!("CARGO_PKG_VERSION"), "\n");

const HELP: &str = "\
usage: sriov-device-plugin [FLAGS]
       sriov-device-plugin [FLAGS] check-config FILE [--explain]   list all mistakes of a resource list; with --explain its pools on this node
       sriov-device-plugin [FLAGS] inventory [--json]              list the devices: role, driver, pool, health, holder
       sriov-device-plugin [FLAGS] explain DEVICE|RESOURCE         show why a device is in a pool or in none
       sriov-device-plugin [FLAGS] capture [--keep-names]          print this machine as a machine file, without its addresses and chosen names

check-config, inventory and explain take --machine FILE, and then use that machine file instead of this machine.

  --config-file FILE        resource list (default /etc/pcidp/config.json)
  --resource-prefix PREFIX  prefix of resources that name none (default intel.com)
  --kubelet-dir DIR         the kubelet's root directory (default /var/lib/kubelet)
  --devinfo-dir DIR         device-info files (default /var/run/k8s.cni.cncf.io/devinfo/dp)
  --use-cdi                 pass devices by CDI specifications instead of device nodes
  --cdi-dir DIR             CDI specifications (default /var/run/cdi)
  --cni-dir DIR             the CNI plugin's state, only read (default /var/lib/cni/sriov)
  --metrics-address ADDR    serve /metrics, /healthz and /readyz on HOST:PORT; a PORT alone is on loopback (default: off)
  --exporter-metrics BOOL   also export the names of sriov-network-metrics-exporter (default true)
  --host-root DIR           root below which sys, proc and dev are read (default /)
  --registration MODE       auto, watcher or legacy (default auto)
  --log-level LEVEL         error, warn, info, debug, trace, or a number as the Go program takes it
  --version, --help

The logging flags of the Go program are accepted and have no effect. SIGHUP reads configuration and devices again.
Exit codes: 0 success, 1 a mistake was found or the command failed, 2 a wrong command line.
";

/// Reads a command line; the first word is the program's name.
///
/// # Errors
/// One sentence that names the flag.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, ArgsError> {
    // Go takes `-flag` for `--flag`.
    let words = words.into_iter().map(|word| match word.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            OsString::from(format!("-{text}"))
        }
        Some(_) | None => word,
    });
    let mut parser = Parser::from_iter(words);
    let mut line = Line::default();
    while let Some(argument) = parser.next()? {
        let flag = match argument {
            Long(flag) => flag.to_owned(),
            Short('h') => "help".to_owned(),
            Short('v') => "v".to_owned(),
            Short(_) => return Err(argument.unexpected().into()),
            Value(word) => {
                line.add_word(word)?;
                continue;
            }
        };
        match flag.as_str() {
            "help" => return Ok(Invocation::Print(HELP.to_owned())),
            "version" => return Ok(Invocation::Print(VERSION.to_owned())),
            "json" if line.command == Some(Name::Inventory) => line.flags.push("json"),
            "explain" if line.command == Some(Name::CheckConfig) => line.flags.push("explain"),
            "keep-names" if line.command == Some(Name::Capture) => line.flags.push("keep-names"),
            "machine" if line.command.is_some_and(Name::has_machine) => {
                line.machine = Some(parser.value()?.into());
            }
            flag if line.set(flag, &mut parser)? || skip(flag, &mut parser)? => {}
            flag => return Err(Long(flag).unexpected().into()),
        }
    }
    line.into_invocation()
}

/// Name of a subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    CheckConfig,
    Inventory,
    Explain,
    Capture,
}

impl Name {
    fn of(word: &str) -> Option<Self> {
        match word {
            "check-config" => Some(Self::CheckConfig),
            "inventory" => Some(Self::Inventory),
            "explain" => Some(Self::Explain),
            "capture" => Some(Self::Capture),
            _ => None,
        }
    }

    fn has_operand(self) -> bool {
        match self {
            Self::CheckConfig | Self::Explain => true,
            Self::Inventory | Self::Capture => false,
        }
    }

    /// Whether it can use a machine file.
    fn has_machine(self) -> bool {
        match self {
            Self::CheckConfig | Self::Explain | Self::Inventory => true,
            Self::Capture => false,
        }
    }
}

/// The command line so far.
#[derive(Default)]
struct Line {
    settings: Settings,
    use_cdi: bool,
    cdi_dir: Option<PathBuf>,
    command: Option<Name>,
    /// The flags of the subcommand that have no value.
    flags: Vec<&'static str>,
    /// The machine file.
    machine: Option<PathBuf>,
    /// Subject of the subcommand.
    operand: Option<String>,
}

impl Line {
    /// Takes a flag that is a setting; returns whether it is one.
    fn set(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, ArgsError> {
        let settings = &mut self.settings;
        match flag {
            "config-file" => settings.config_file = parser.value()?.into(),
            "resource-prefix" => settings.resource_prefix = prefix(parser.value()?.string()?)?,
            "kubelet-dir" => settings.kubelet_dir = parser.value()?.into(),
            "devinfo-dir" => settings.devinfo_dir = parser.value()?.into(),
            "cni-dir" => settings.cni_dir = parser.value()?.into(),
            "host-root" => settings.host = HostRoot::new(PathBuf::from(parser.value()?)),
            "registration" => settings.registration = registration(&parser.value()?.string()?)?,
            "log-level" => settings.log_level = log_level(&parser.value()?.string()?)?,
            "metrics-address" => {
                settings.metrics_address = metrics_address(parser.value()?.string()?)?;
            }
            "use-cdi" => {
                let value = parser.optional_value().map(ValueExt::string).transpose()?;
                self.use_cdi = is_true("use-cdi", value.as_deref())?;
            }
            "exporter-metrics" => {
                let value = parser.value()?.string()?;
                settings.has_exporter_names = is_true("exporter-metrics", Some(&value))?;
            }
            "cdi-dir" => self.cdi_dir = Some(parser.value()?.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add_word(&mut self, word: OsString) -> Result<(), ArgsError> {
        let text = word.clone().string()?;
        match (self.command, Name::of(&text)) {
            (None, Some(name)) => self.command = Some(name),
            (Some(name), _) if name.has_operand() && self.operand.is_none() => {
                self.operand = Some(text);
            }
            (None | Some(_), _) => return Err(Value(word).unexpected().into()),
        }
        Ok(())
    }

    fn into_invocation(mut self) -> Result<Invocation, ArgsError> {
        let cdi_dir = self.cdi_dir.unwrap_or_else(|| "/var/run/cdi".into());
        self.settings.cdi_dir = self.use_cdi.then_some(cdi_dir);
        let Some(name) = self.command else {
            return Ok(Invocation::Run(self.settings));
        };
        let needed = |command, operand| {
            let given = self.operand.clone();
            given.ok_or(ArgsError::Operand { command, operand })
        };
        let has = |flag| self.flags.contains(&flag);
        let machine = self.machine.clone();
        let command = match name {
            Name::CheckConfig => Command::CheckConfig {
                file: needed("check-config", "a file, or - for standard input")?.into(),
                // The pools are all that a machine adds.
                is_explained: has("explain") || machine.is_some(),
                machine,
            },
            Name::Inventory => Command::Inventory {
                is_json: has("json"),
                machine,
            },
            Name::Explain => Command::Explain {
                subject: needed("explain", "a device or a resource")?,
                machine,
            },
            Name::Capture => Command::Capture {
                keep_names: has("keep-names"),
            },
        };
        Ok(Invocation::Subcommand(self.settings, command))
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

/// Skips a logging flag of the Go program; returns whether it is one.
fn skip(flag: &str, parser: &mut Parser) -> Result<bool, ArgsError> {
    match flag {
        "log-dir" | "log_dir" | "log_backtrace_at" | "log_link" | "logbuflevel"
        | "stderrthreshold" | "v" | "vmodule" => drop(parser.value()?),
        "alsologtostderr" | "logtostderr" => drop(parser.optional_value()),
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, ArgsError> {
        parse(
            std::iter::once("program")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    #[test]
    fn command_lines_of_existing_manifests_are_accepted() {
        for line in [
            "--log-level=10 --resource-prefix=intel.com --config-file=/etc/pcidp/node1",
            "-config-file /c -resource-prefix x.y -logtostderr -v 10 -use-cdi=false",
            "--log-dir=sriovdp --log-level=10",
            "-v=4 -stderrthreshold=INFO -alsologtostderr=true -log_dir /l -log-level 10 -vmodule a=1",
            "",
        ] {
            assert!(matches!(read(line), Ok(Invocation::Run(_))), "{line}");
        }
        let Ok(Invocation::Run(settings)) = read("-config-file /c --registration legacy") else {
            panic!()
        };
        assert_eq!(
            (settings.config_file, settings.registration),
            ("/c".into(), Registration::Legacy)
        );
    }

    #[test]
    fn cdi_mode_follows_the_go_flag() {
        for (line, dir) in [
            ("--use-cdi", Some("/var/run/cdi")),
            ("-use-cdi=true --cdi-dir /d", Some("/d")),
            ("--use-cdi=false", None),
            ("--cdi-dir /d", None),
        ] {
            let Ok(Invocation::Run(settings)) = read(line) else {
                panic!("{line}")
            };
            assert_eq!(settings.cdi_dir, dir.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn metrics_are_off_by_default_and_a_port_is_on_loopback() {
        for (value, address) in [
            ("", None),
            ("9808", Some("127.0.0.1:9808")),
            (":9808", Some("127.0.0.1:9808")),
            ("0.0.0.0:9808", Some("0.0.0.0:9808")),
            ("[::]:9808", Some("[::]:9808")),
        ] {
            let Ok(Invocation::Run(settings)) = read(&format!("--metrics-address={value}")) else {
                panic!("{value}")
            };
            let expected = address.map(|address| address.parse().unwrap());
            assert_eq!(settings.metrics_address, expected, "{value}");
        }
        assert_eq!(Settings::default().metrics_address, None);
    }

    #[test]
    fn flags_are_accepted_around_a_subcommand() {
        let Ok(Invocation::Subcommand(settings, command)) =
            read("-resource-prefix x.y check-config f.json --explain --host-root /r")
        else {
            panic!()
        };
        assert_eq!(settings.resource_prefix, "x.y");
        assert_eq!(settings.host, HostRoot::new("/r"));
        let check = |machine: Option<&str>| Command::CheckConfig {
            file: "f.json".into(),
            is_explained: true,
            machine: machine.map(PathBuf::from),
        };
        assert_eq!(command, check(None));
        let replay = read("check-config f.json --machine m.yaml").unwrap();
        assert_eq!(
            replay,
            Invocation::Subcommand(Settings::default(), check(Some("m.yaml")))
        );
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (line, word) in [
            ("--nonsense", "nonsense"),
            ("--registration=x", "`x`"),
            ("--resource-prefix=Bad/x", "`Bad/x`"),
            ("--log-level=x", "`x`"),
            ("--metrics-address=somewhere", "`somewhere`"),
            ("--use-cdi=maybe", "`maybe`"),
            ("--exporter-metrics=maybe", "`maybe`"),
            ("word", "word"),
            ("--machine m", "machine"),
            ("capture --machine m", "machine"),
            ("capture x", "x"),
            ("inventory --keep-names", "keep-names"),
        ] {
            assert!(read(line).unwrap_err().to_string().contains(word), "{line}");
        }
    }
}
