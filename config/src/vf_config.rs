//! The parameters of a claim, `VfConfig`: what a user wishes for the VFs of a request.
//!
//! They are strict, as the person who wrote them sees only the event of a pod that does not start: an unknown key is a mistake.

mod driver;
mod network;
mod sriovnetwork;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sriov_host::IfName;

pub use self::driver::{InvalidUserDriver, UserDriver, WishedDriver};
pub use self::network::{InvalidNetworkName, NetworkName};
use crate::Mistakes;
use crate::fields::{Fields, Findings, nearest_within};
use crate::places::member;

/// The group of our parameters, and the default name of the DRA driver.
pub const GROUP: &str = "sriov.virtfn.dev";
/// Their `apiVersion`.
pub const API_VERSION: &str = "sriov.virtfn.dev/v1alpha1";
/// Their `kind`.
pub const KIND: &str = "VfConfig";

const KEYS: &[&str] = &["apiVersion", "kind", "network", "ifName", "driver", "env"];
/// Variables with this prefix name the devices of a container.
const OURS: &str = "PCIDEVICE_";

/// Which parameters are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepted {
    /// Our parameters only.
    #[default]
    Own,
    /// Our parameters and the parameters of `dra-driver-sriov`.
    WithSriovnetwork,
}

/// What a claim or its class wishes for the VFs of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VfConfig {
    /// The network that each VF is for.
    pub network: Option<NetworkName>,
    /// Name of the interface in the pod.
    pub if_name: Option<IfName>,
    /// The driver that the VF has while the claim is prepared; without it the VF keeps its driver.
    pub driver: Option<WishedDriver>,
    /// Whether the containers get `/dev/vhost-net` and `/dev/net/tun`; absent for what the resource has.
    pub vhost_net: Option<bool>,
    /// Additional variables for the containers.
    pub env: BTreeMap<String, String>,
}

impl VfConfig {
    /// Reads parameters that stand at `path` of their object; their `apiVersion` decides which keys they have.
    ///
    /// # Errors
    /// All mistakes, with their paths.
    pub fn parse(parameters: &Value, path: &str, accepted: Accepted) -> Result<Self, Mistakes> {
        let mut findings = Findings::default();
        let version = parameters.get("apiVersion").and_then(Value::as_str);
        let is_own = version != Some(sriovnetwork::API_VERSION);
        let keys = if is_own { KEYS } else { sriovnetwork::KEYS };
        let all = Fields::of(parameters, path, &mut findings);
        let known = all.map(|fields| known(&fields, keys, &mut findings));
        let known = known.map(Value::Object);
        let fields = known
            .as_ref()
            .and_then(|known| Fields::of(known, path, &mut findings));
        let config = fields.map(|fields| {
            if is_own {
                read(&fields, &mut findings)
            } else {
                sriovnetwork::read(&fields, accepted, &mut findings)
            }
        });
        let config = config.unwrap_or_default();
        if findings.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(findings.mistakes))
        }
    }

    /// This configuration and a later one together: a key of the later one replaces the same key of this one.
    #[must_use]
    pub fn overridden_by(mut self, later: Self) -> Self {
        let Self {
            network,
            if_name,
            driver,
            vhost_net,
            env,
        } = later;
        self.network = network.or(self.network);
        self.if_name = if_name.or(self.if_name);
        self.driver = driver.or(self.driver);
        self.vhost_net = vhost_net.or(self.vhost_net);
        self.env.extend(env);
        self
    }
}

/// The keys in the expected spelling; each other key is a mistake, also one that differs in case only.
fn known(
    fields: &Fields<'_>,
    keys: &[&'static str],
    findings: &mut Findings,
) -> Map<String, Value> {
    let mut known = Map::new();
    for (key, value, path) in fields.entries() {
        if keys.contains(&key.as_str()) {
            known.insert(key.clone(), value.clone());
            continue;
        }
        let hint = nearest_within(key, keys, 2).map_or_else(
            || format!("expected one of {}", keys.join(", ")),
            |known| format!("did you mean `{known}`?"),
        );
        findings.mistake(&path, format!("unknown key: {hint}"));
    }
    known
}

fn read(fields: &Fields<'_>, findings: &mut Findings) -> VfConfig {
    ensure_text(fields, "apiVersion", API_VERSION, findings);
    ensure_text(fields, "kind", KIND, findings);
    VfConfig {
        network: fields.parsed("network", findings),
        if_name: fields.parsed("ifName", findings),
        driver: fields.parsed("driver", findings).map(WishedDriver::User),
        vhost_net: None,
        env: env(fields, findings),
    }
}

fn ensure_text(fields: &Fields<'_>, key: &str, expected: &str, findings: &mut Findings) {
    let path = fields.path(key);
    match fields.value(key) {
        Some(value) if value == expected => {}
        Some(value) => findings.mistake(&path, format!("`{value}` is not `{expected}`")),
        None => findings.mistake(&path, format!("it is missing, expected `{expected}`")),
    }
}

fn env(fields: &Fields<'_>, findings: &mut Findings) -> BTreeMap<String, String> {
    let Some(variables) = fields.object("env", findings) else {
        return BTreeMap::new();
    };
    let path = fields.path("env");
    let mut env = BTreeMap::new();
    for (name, value, _) in variables.entries() {
        let path = member(&path, name);
        if !is_variable(name) {
            findings.mistake(&path, "the name of a variable consists of letters, digits and `_`, and does not begin with a digit");
        } else if name.starts_with(OURS) {
            findings.mistake(
                &path,
                format!("variables that begin with `{OURS}` name the devices of the container"),
            );
        }
        match value.as_str() {
            Some(value) if value.contains('\0') => {
                findings.mistake(&path, "the value contains a zero byte");
            }
            Some(value) => {
                env.insert(name.clone(), value.to_owned());
            }
            None => findings.mistake(
                &path,
                format!("`{value}` is not a string: write it in quotes"),
            ),
        }
    }
    env
}

fn is_variable(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests;
