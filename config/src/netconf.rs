//! The CNI network configuration, drop-in for `sriov-cni`: standard input and `CNI_ARGS` in, values out.

mod settings;
mod version;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use sriov_host::vf::{VfLinkState, VfRate};
use sriov_host::vlan::Vlan;
use sriov_host::{Guid, MacAddr, PciAddress};

use self::settings::{link_state, switch, vlan};
pub use self::version::CniVersion;
use crate::Finding;
use crate::fields::{Fields, Findings};

/// A network configuration that cannot be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConf {
    /// Version of the protocol and of the result.
    pub version: CniVersion,
    /// Name of the network.
    pub name: String,
    /// Where the device comes from.
    pub device: DeviceSource,
    /// What is asked of the VF.
    pub wanted: Wanted,
    /// `ipam.type`, when there is one.
    pub ipam: Option<String>,
    /// `ipamTimeout`: time limit of each call of the IPAM plugin.
    pub ipam_timeout: Option<Duration>,
    /// `dns`, as written.
    pub dns: Option<Value>,
    /// Result of the plugin before, as written.
    pub prev_result: Option<Value>,
    /// Attachments that still live (`cni.dev/valid-attachments`, or `cni.dev/attachments`); absent is not empty.
    pub attachments: Option<Vec<LiveAttachment>>,
    /// `logFile`.
    pub log_file: Option<PathBuf>,
    /// `logLevel`.
    pub log_level: Option<LogLevel>,
}

/// How much is logged; the names are those of `sriov-cni`, where a panic is our worst error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// `panic` and `error`.
    Error,
    /// `warning`.
    Warning,
    /// `info`, and any other text.
    #[default]
    Info,
    /// `debug`.
    Debug,
}

/// Sources of the PCI address, which must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSource {
    /// `deviceID` or `pciBusID` of the configuration or of `runtimeConfig`.
    pub address: Option<PciAddress>,
    /// `runtimeConfig.CNIDeviceInfoFile`.
    pub info_file: Option<PathBuf>,
}

/// What is asked of the VF; what is not named is not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// MAC address.
    pub mac: Option<MacAddr>,
    /// Port VLAN.
    pub vlan: Option<Vlan>,
    /// Spoof check.
    pub spoofchk: Option<bool>,
    /// Trust.
    pub trust: Option<bool>,
    /// Link state policy.
    pub link_state: Option<VfLinkState>,
    /// `min_tx_rate` in Mbit/s.
    pub min_tx_rate: Option<u32>,
    /// `max_tx_rate` in Mbit/s.
    pub max_tx_rate: Option<u32>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// `runtimeConfig.infinibandGUID`, for node and port.
    pub guid: Option<Guid>,
}

impl Wanted {
    /// Both rates, the one that is not named as it is now.
    pub fn rate(&self, now: VfRate) -> Option<VfRate> {
        let named = self.min_tx_rate.is_some() || self.max_tx_rate.is_some();
        named.then(|| VfRate {
            min: self.min_tx_rate.unwrap_or(now.min),
            max: self.max_tx_rate.unwrap_or(now.max),
        })
    }
}

/// An attachment that the runtime still knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveAttachment {
    /// Container id.
    pub container_id: String,
    /// Name of the interface in the container.
    pub ifname: String,
}

/// Why a configuration is refused; each kind has a code of its own in the CNI specification, section "Error".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetConfError {
    /// Not JSON, or not an object.
    #[error("cannot decode the network configuration: {0}")]
    Decode(String),
    /// A `cniVersion` that this plugin does not speak.
    #[error("incompatible CNI version `{0}`: this plugin speaks {all}", all = CniVersion::list())]
    Version(String),
    /// Mistakes, all of them.
    #[error("invalid network configuration: {0}")]
    Invalid(crate::Mistakes),
}

impl NetConf {
    /// Reads a configuration; `cni_args` is the environment's `CNI_ARGS`.
    ///
    /// # Errors
    /// All mistakes at once, each with key, value and rule.
    pub fn parse(stdin: &str, cni_args: Option<&str>) -> Result<Self, NetConfError> {
        let (conf, mistakes) = read(stdin, cni_args)?;
        if mistakes.is_empty() {
            Ok(conf)
        } else {
            Err(NetConfError::Invalid(crate::Mistakes(mistakes)))
        }
    }

    /// Reads a configuration whose attachments are only looked for and released: what could not have been attached is no reason to refuse that.
    ///
    /// # Errors
    /// When it is no object, of an unknown version, or names no network; other mistakes come back beside it.
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
            Err(NetConfError::Invalid(crate::Mistakes(fatal)))
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
    let wanted = wanted(&fields, runtime.as_ref(), cni_args, &mut findings);
    let conf = NetConf {
        version,
        name,
        device: device(&fields, runtime.as_ref(), &mut findings),
        wanted,
        ipam: fields
            .object("ipam", &mut findings)
            .and_then(|ipam| ipam.text("type", &mut findings).map(str::to_owned))
            .filter(|plugin| !plugin.is_empty()),
        ipam_timeout: fields
            .number("ipamTimeout", 1, 3600, &mut findings)
            .map(Duration::from_secs),
        dns: fields.value("dns").cloned(),
        prev_result: fields.value("prevResult").cloned(),
        attachments: attachments(&fields, &mut findings),
        log_file: fields
            .text("logFile", &mut findings)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        log_level: fields.text("logLevel", &mut findings).map(log_level),
    };
    Ok((conf, findings.mistakes))
}

fn log_level(text: &str) -> LogLevel {
    match text.to_ascii_lowercase().as_str() {
        "panic" | "error" => LogLevel::Error,
        "warning" => LogLevel::Warning,
        "debug" => LogLevel::Debug,
        _ => LogLevel::Info,
    }
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

fn device(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    findings: &mut Findings,
) -> DeviceSource {
    let mut source = DeviceSource::default();
    let places = [Some(fields), runtime]
        .into_iter()
        .flatten()
        .flat_map(|fields| [(fields, "deviceID"), (fields, "pciBusID")]);
    for (fields, key) in places {
        if fields.text(key, findings).is_none_or(str::is_empty) {
            continue;
        }
        let Some(address) = fields.parsed::<PciAddress>(key, findings) else {
            continue;
        };
        match source.address {
            Some(other) if other != address => {
                findings.mistake(&fields.path(key), format!("`{address}` is not the device `{other}` that the configuration names elsewhere"));
            }
            Some(_) | None => source.address = Some(address),
        }
    }
    source.info_file = runtime
        .and_then(|runtime| runtime.text("CNIDeviceInfoFile", findings))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    source
}

fn wanted(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    cni_args: Option<&str>,
    findings: &mut Findings,
) -> Wanted {
    let rate = |key: &str, findings: &mut Findings| {
        fields
            .number(key, 0, u32::MAX.into(), findings)
            .and_then(|rate| u32::try_from(rate).ok())
    };
    let wanted = Wanted {
        mac: mac(fields, runtime, cni_args, findings),
        vlan: vlan(fields, findings),
        spoofchk: switch(fields, "spoofchk", findings),
        trust: switch(fields, "trust", findings),
        link_state: link_state(fields, findings),
        min_tx_rate: rate("min_tx_rate", findings),
        max_tx_rate: rate("max_tx_rate", findings),
        // The kernel's smallest Ethernet MTU is 68 (ETH_MIN_MTU); the largest is the driver's to tell.
        mtu: fields
            .number("mtu", 68, 65535, findings)
            .and_then(|mtu| u32::try_from(mtu).ok()),
        guid: runtime.and_then(|runtime| guid(runtime, findings)),
    };
    if let (Some(min), Some(max @ 1..)) = (wanted.min_tx_rate, wanted.max_tx_rate)
        && min > max
    {
        findings.mistake(
            "min_tx_rate",
            format!("`{min}` is more than max_tx_rate `{max}`"),
        );
    }
    wanted
}

/// `runtimeConfig.mac` wins over `MAC=` of `CNI_ARGS`, which wins over `mac`; all that are there must be right.
fn mac(
    fields: &Fields<'_>,
    runtime: Option<&Fields<'_>>,
    cni_args: Option<&str>,
    findings: &mut Findings,
) -> Option<MacAddr> {
    let of = |fields: &Fields<'_>, findings: &mut Findings| {
        fields
            .text("mac", findings)
            .filter(|text| !text.is_empty())
            .map(|text| (fields.path("mac"), text.to_owned()))
    };
    let in_runtime = runtime.and_then(|runtime| of(runtime, findings));
    let in_args = args_mac(cni_args, findings).map(|text| ("CNI_ARGS MAC".to_owned(), text));
    let in_conf = of(fields, findings);
    let mut chosen = None;
    for (path, text) in [in_runtime, in_args, in_conf].into_iter().flatten() {
        match text.parse::<MacAddr>() {
            Ok(mac) if mac.is_station() => chosen = chosen.or(Some(mac)),
            Ok(mac) => findings.mistake(
                &path,
                format!("`{mac}` cannot be the address of one station: it is zero or multicast"),
            ),
            Err(error) => findings.mistake(&path, error.to_string()),
        }
    }
    chosen
}

/// `infinibandGUID` of the CNI conventions.
fn guid(runtime: &Fields<'_>, findings: &mut Findings) -> Option<Guid> {
    let text = runtime
        .text("infinibandGUID", findings)
        .filter(|text| !text.is_empty())?;
    let path = runtime.path("infinibandGUID");
    match text.parse::<Guid>() {
        Ok(guid) if guid.is_usable() => return Some(guid),
        Ok(guid) => findings.mistake(
            &path,
            format!("`{guid}` cannot be the GUID of one port: it is all zeros or all ones"),
        ),
        Err(error) => findings.mistake(&path, error.to_string()),
    }
    None
}

/// `CNI_ARGS` is `K=V;K=V`; an unknown key is a mistake unless `IgnoreUnknown` is true (`pkg/types/args.go` of the CNI library).
fn args_mac(cni_args: Option<&str>, findings: &mut Findings) -> Option<String> {
    let mut mac = None;
    let mut unknown = Vec::new();
    let mut ignore = false;
    for pair in cni_args.filter(|args| !args.is_empty())?.split(';') {
        match pair.split_once('=') {
            Some((_, value)) if value.contains('=') => {
                findings.mistake("CNI_ARGS", format!("`{pair}` is not `KEY=VALUE`"));
            }
            Some(("MAC", value)) => mac = Some(value.to_owned()).filter(|value| !value.is_empty()),
            Some(("IgnoreUnknown", value)) => match value.to_ascii_lowercase().as_str() {
                "1" | "true" => ignore = true,
                "0" | "false" => ignore = false,
                _ => findings.mistake(
                    "CNI_ARGS",
                    format!("IgnoreUnknown `{value}` is not one of 1, 0, true, false"),
                ),
            },
            Some((key, _)) => unknown.push(key),
            None => findings.mistake("CNI_ARGS", format!("`{pair}` is not `KEY=VALUE`")),
        }
    }
    if !ignore && !unknown.is_empty() {
        findings.mistake(
            "CNI_ARGS",
            format!(
                "unknown keys {}, and IgnoreUnknown is not true",
                unknown.join(", ")
            ),
        );
    }
    mac
}

/// Both keys count, as the library sends both; `null` is what Go makes of a list that nobody filled, and so absent.
fn attachments(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vec<LiveAttachment>> {
    let mut all = None;
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let Some(value) = fields.value(key) else {
            continue;
        };
        let Some(items) = value.as_array() else {
            findings.mistake(key, format!("`{value}` is not a list"));
            continue;
        };
        let listed: &mut Vec<LiveAttachment> = all.get_or_insert_default();
        for (position, item) in items.iter().enumerate() {
            let path = format!("{key}[{position}]");
            let Some(item) = Fields::of(item, &path, findings) else {
                continue;
            };
            // An attachment that cannot be read must not pass for one that is not listed.
            let mut text = |key: &str| {
                let text = item.text(key, findings).map(str::to_owned);
                if text.is_none() && item.value(key).is_none() {
                    findings.mistake(&item.path(key), "it is missing");
                }
                text
            };
            if let (Some(container_id), Some(ifname)) = (text("containerID"), text("ifname")) {
                listed.push(LiveAttachment {
                    container_id,
                    ifname,
                });
            }
        }
    }
    all
}

impl From<Finding> for NetConfError {
    fn from(finding: Finding) -> Self {
        Self::Invalid(crate::Mistakes(vec![finding]))
    }
}

#[cfg(test)]
mod tests;
