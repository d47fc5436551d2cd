//! The verbs of the CNI specification.

use std::fmt;

use sriov_config::netconf::CniVersion;

/// A verb (`CNI_COMMAND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attaches.
    Add,
    /// Detaches.
    Del,
    /// Compares with what was attached.
    Check,
    /// Reports whether ADD could work.
    Status,
    /// Releases what the runtime does not list.
    Gc,
    /// Reports the versions.
    Version,
}

impl Verb {
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("ADD", Self::Add),
        ("DEL", Self::Del),
        ("CHECK", Self::Check),
        ("STATUS", Self::Status),
        ("GC", Self::Gc),
        ("VERSION", Self::Version),
    ];

    /// The first version of the specification that has the verb.
    pub(super) fn since(self) -> CniVersion {
        match self {
            Self::Add | Self::Del | Self::Version => CniVersion::V0_1_0,
            Self::Check => CniVersion::V0_4_0,
            Self::Status | Self::Gc => CniVersion::V1_1_0,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.into_iter().find(|(_, verb)| verb == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}
