//! The CNI network configuration, a replacement for that of `sriov-cni`: read from standard input and `CNI_ARGS`.

mod address;
mod attachments;
mod claim;
mod device;
mod error;
mod keys;
mod log_level;
mod version;
mod vlan;
mod wanted;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

pub use self::attachments::LiveAttachment;
pub use self::claim::ClaimSource;
pub use self::device::DeviceSource;
pub use self::error::NetConfError;
pub use self::log_level::LogLevel;
pub use self::version::{CniVersion, UnsupportedVersion};
pub use self::wanted::Wanted;
use crate::fields::{Fields, Findings};
use crate::finding::{Finding, Mistakes};

/// A valid network configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConf {
    /// Version of the protocol and of the result.
    pub version: CniVersion,
    /// Name of the network.
    pub name: String,
    /// The device, by address or by device-info file.
    pub device: DeviceSource,
    /// The device among those of the pod's claims, if nothing names the device.
    pub claim: ClaimSource,
    /// Settings of the VF.
    pub wanted: Wanted,
    /// `ipam.type`, if it is present.
    pub ipam: Option<String>,
    /// `ipamTimeout`: time limit of each call of the IPAM plugin.
    pub ipam_timeout: Option<Duration>,
    /// `dns`, as written.
    pub dns: Option<Value>,
    /// Result of the previous plugin in the chain, as written.
    pub prev_result: Option<Value>,
    /// Attachments that must stay (`cni.dev/valid-attachments` or `cni.dev/attachments`); an absent list is not an empty one.
    pub attachments: Option<Vec<LiveAttachment>>,
    /// `logFile`.
    pub log_file: Option<PathBuf>,
    /// `logLevel`.
    pub log_level: Option<LogLevel>,
    /// Keys without effect that were probably meant for this plugin.
    pub warnings: Vec<Finding>,
}

impl NetConf {
    /// Reads a configuration; `cni_args` is the environment's `CNI_ARGS`.
    ///
    /// # Errors
    /// All mistakes, each with key, value and rule.
    pub fn parse(stdin: &str, cni_args: Option<&str>) -> Result<Self, NetConfError> {
        let (conf, mistakes) = read(stdin, cni_args)?;
        if mistakes.is_empty() {
            Ok(conf)
        } else {
            Err(NetConfError::Invalid(Mistakes(mistakes)))
        }
    }

    /// Reads a configuration for a request that only finds or releases attachments: a value that ADD would refuse must not prevent that.
    ///
    /// # Errors
    /// When the text is not an object, has an unsupported version, or names no network; other mistakes are returned with the configuration.
    pub fn parse_for_release(stdin: &str) -> Result<(Self, Vec<Finding>), NetConfError> {
        let (conf, mut mistakes) = read(stdin, None)?;
        let fatal: Vec<Finding> = mistakes
            .extract_if(.., |mistake| {
                mistake.path == "name" || mistake.path.starts_with("cni.dev/")
            })
            .collect();
        if fatal.is_empty() {
            Ok((conf, mistakes))
        } else {
            Err(NetConfError::Invalid(Mistakes(fatal)))
        }
    }
}

fn read(stdin: &str, cni_args: Option<&str>) -> Result<(NetConf, Vec<Finding>), NetConfError> {
    let value: Value =
        serde_json::from_str(stdin).map_err(|error| NetConfError::Decode(error.to_string()))?;
    let mut findings = Findings::default();
    let Some(fields) = Fields::of(&value, "", &mut findings) else {
        return Err(NetConfError::Decode("not an object".to_owned()));
    };
    let version = version::read(&fields)?;
    let name = name(&fields, &mut findings);
    let runtime = fields.object("runtimeConfig", &mut findings);
    keys::warn(&fields, &mut findings);
    let mut conf = NetConf {
        version,
        name,
        device: device::read(&fields, runtime.as_ref(), &mut findings),
        claim: claim::read(&fields, &mut findings),
        wanted: wanted::read(&fields, runtime.as_ref(), cni_args, &mut findings),
        ipam: ipam(&fields, &mut findings),
        ipam_timeout: fields
            .number("ipamTimeout", 1, 3600, &mut findings)
            .map(Duration::from_secs),
        dns: fields.value("dns").cloned(),
        prev_result: fields.value("prevResult").cloned(),
        attachments: attachments::read(&fields, &mut findings),
        log_file: fields
            .text("logFile", &mut findings)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        log_level: fields.text("logLevel", &mut findings).map(LogLevel::read),
        warnings: Vec::new(),
    };
    conf.warnings = findings.warnings;
    Ok((conf, findings.mistakes))
}

/// Reads the IPAM plugin; this plugin itself is refused, because it would call itself forever.
fn ipam(fields: &Fields<'_>, findings: &mut Findings) -> Option<String> {
    let ipam = fields.object("ipam", findings)?;
    let plugin = ipam
        .text("type", findings)
        .filter(|plugin| !plugin.is_empty())?;
    let own = fields.value("type").and_then(Value::as_str);
    if plugin == "sriov" || Some(plugin) == own {
        findings.mistake(
            &ipam.path("type"),
            format!("`{plugin}` is this plugin itself, not an IPAM plugin"),
        );
        return None;
    }
    Some(plugin.to_owned())
}

/// Whether a text may be a network name or a container id (CNI specification, "Parameters").
pub fn is_identifier(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().next().is_some_and(letter)
        && text
            .bytes()
            .all(|b| letter(b) || matches!(b, b'_' | b'.' | b'-'))
}

fn name(fields: &Fields<'_>, findings: &mut Findings) -> String {
    let name = fields.text("name", findings).unwrap_or_default();
    if !is_identifier(name) && fields.value("name").is_none_or(Value::is_string) {
        findings.mistake("name", format!("`{name}` is not a network name: expected a letter or digit, then letters, digits, `_`, `.` and `-`"));
    }
    name.to_owned()
}

#[cfg(test)]
mod tests;
