//! The name of a network in a claim.

use std::fmt;
use std::str::FromStr;

/// A `NetworkAttachmentDefinition`: `namespace/name`, or `name` in the namespace of the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkName {
    /// Its namespace; absent for that of the claim.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// A text that is not the name of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a network: expected `name` or `namespace/name`, each of lower-case letters, digits, `-` and `.`"
)]
pub struct InvalidNetworkName(String);

impl FromStr for NetworkName {
    type Err = InvalidNetworkName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if is_name(name) && namespace.is_none_or(is_name) {
            Ok(Self {
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
            })
        } else {
            Err(InvalidNetworkName(text.to_owned()))
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// The rule for names of objects, a DNS subdomain (RFC 1123, Kubernetes' "Object Names and IDs").
pub(super) fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(is_word))
            && label.bytes().all(|byte| is_word(byte) || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}
