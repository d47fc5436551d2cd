//! The `VfConfig` of `dra-driver-sriov` (`pkg/api/virtualfunction/v1alpha1` at commit cd9404f), for claims and classes that were written for it.
//!
//! An empty text means the same as no key, as in that driver.

use std::collections::BTreeMap;

use super::driver::WishedDriver;
use super::network::is_name;
use super::{Accepted, KIND, NetworkName, VfConfig, ensure_text};
use crate::fields::{Fields, Findings};

/// Their `apiVersion`.
pub(super) const API_VERSION: &str = "sriovnetwork.k8snetworkplumbingwg.io/v1alpha1";

pub(super) const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "driver",
    "addVhostMount",
    "ifName",
    "netAttachDefName",
    "netAttachDefNamespace",
];
/// The value of `driver` for the driver of a network device.
const DEFAULT_DRIVER: &str = "default";

/// Reads parameters whose `apiVersion` is [`API_VERSION`].
pub(super) fn read(fields: &Fields<'_>, accepted: Accepted, findings: &mut Findings) -> VfConfig {
    if accepted == Accepted::Own {
        findings.mistake(
            &fields.path("apiVersion"),
            "these are parameters of dra-driver-sriov, which are accepted with --sriovnetwork-names=true",
        );
    }
    ensure_text(fields, "kind", KIND, findings);
    VfConfig {
        network: network(fields, findings),
        if_name: text(fields, "ifName", findings).and_then(|_| fields.parsed("ifName", findings)),
        driver: driver(fields, findings),
        vhost_net: fields
            .value("addVhostMount")
            .map(|_| fields.flag("addVhostMount", findings)),
        env: BTreeMap::new(),
    }
}

/// The text of a key, unless it is empty.
fn text<'a>(fields: &Fields<'a>, key: &str, findings: &mut Findings) -> Option<&'a str> {
    fields.text(key, findings).filter(|text| !text.is_empty())
}

fn driver(fields: &Fields<'_>, findings: &mut Findings) -> Option<WishedDriver> {
    let name = text(fields, "driver", findings)?;
    if name == DEFAULT_DRIVER {
        return Some(WishedDriver::Network);
    }
    fields.parsed("driver", findings).map(WishedDriver::User)
}

/// The namespace is that of the claim unless the key names one; without a name it has no effect, as in that driver.
fn network(fields: &Fields<'_>, findings: &mut Findings) -> Option<NetworkName> {
    let mut object_name = |key: &str| {
        let name = text(fields, key, findings)?;
        if !is_name(name) {
            findings.mistake(&fields.path(key), format!("`{name}` is not the name of an object: expected lower-case letters, digits, `-` and `.`"));
        }
        Some(name.to_owned())
    };
    let name = object_name("netAttachDefName");
    let namespace = object_name("netAttachDefNamespace");
    Some(NetworkName {
        namespace,
        name: name?,
    })
}
