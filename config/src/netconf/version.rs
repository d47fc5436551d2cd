//! Versions of the CNI specification.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::fields::Fields;

/// A version of the CNI specification that this plugin supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CniVersion {
    /// 0.1.0: one address for each family, no interfaces.
    V0_1_0,
    /// 0.2.0: like 0.1.0.
    V0_2_0,
    /// 0.3.0: interfaces, lists of addresses.
    V0_3_0,
    /// 0.3.1: like 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK, `prevResult` on DEL.
    V0_4_0,
    /// 1.0.0: addresses without version.
    V1_0_0,
    /// 1.1.0: STATUS, GC, MTU and PCI id of an interface.
    V1_1_0,
}

impl CniVersion {
    /// All supported versions, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The version as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// All supported versions as text, for messages.
    pub fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for CniVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of the CNI specification that this plugin does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incompatible CNI version `{0}`: this plugin supports {all}", all = CniVersion::list())]
pub struct UnsupportedVersion(pub String);

impl FromStr for CniVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnsupportedVersion(text.to_owned()))
    }
}

/// Reads the version; an absent or empty one is 0.1.0, as in the CNI library.
pub(super) fn read(fields: &Fields<'_>) -> Result<CniVersion, UnsupportedVersion> {
    match fields.value("cniVersion") {
        None => Ok(CniVersion::V0_1_0),
        Some(Value::String(text)) if text.is_empty() => Ok(CniVersion::V0_1_0),
        Some(Value::String(text)) => text.parse(),
        Some(other) => Err(UnsupportedVersion(other.to_string())),
    }
}
