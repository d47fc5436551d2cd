//! A resource's prefix and name, and what is derived from them.

use std::fmt;

/// `prefix/name` of an extended resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    prefix: String,
    name: String,
}

/// A prefix or name that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResourceName {
    /// The prefix.
    #[error(
        "`{0}` is not a prefix: expected a DNS subdomain, lower-case letters, digits, `-` and `.`, at most 244, not of `kubernetes.io` or `requests.`"
    )]
    Prefix(String),
    /// The name.
    #[error(
        "`{0}` is not a resource name: expected letters, digits, `-` and `_`, at most 63, with a letter or digit at both ends"
    )]
    Name(String),
}

impl InvalidResourceName {
    /// The key of the configuration that has the mistake.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "resourcePrefix",
            Self::Name(_) => "resourceName",
        }
    }
}

impl ResourceName {
    /// Validates a prefix and a name by the kubelet's rules (pkg/apis/core/v1/helper, `IsExtendedResourceName`), which also apply to `requests.PREFIX/NAME`.
    ///
    /// # Errors
    /// The invalid part, or both.
    pub fn new(prefix: &str, name: &str) -> Result<Self, Vec<InvalidResourceName>> {
        let mut errors = Vec::new();
        let end = |text: &str| {
            [text.bytes().next(), text.bytes().next_back()]
                .iter()
                .flatten()
                .all(u8::is_ascii_alphanumeric)
        };
        let label = |label: &str| {
            !label.is_empty()
                && end(label)
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        // The kubelet also takes `mykubernetes.io/` for its own.
        let is_taken = prefix.ends_with("kubernetes.io") || prefix.starts_with("requests.");
        if prefix.len() > 244 || is_taken || !prefix.split('.').all(label) {
            errors.push(InvalidResourceName::Prefix(prefix.to_owned()));
        }
        let letters = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if name.is_empty() || name.len() > 63 || !letters || !end(name) {
            errors.push(InvalidResourceName::Name(name.to_owned()));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The environment variable that lists the devices: `PCIDEVICE_<PREFIX>_<NAME>`, upper case, `.` as `_`.
    pub fn variable(&self) -> String {
        format!("PCIDEVICE_{}_{}", self.prefix, self.name)
            .to_uppercase()
            .replace('.', "_")
    }

    /// The environment variable with details of each device.
    pub fn info_variable(&self) -> String {
        format!("{}_INFO", self.variable())
    }

    /// The name of the resource's socket, without extension.
    pub fn socket_stem(&self) -> String {
        format!("{}_{}", self.prefix, self.name)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_derived_from_the_name() {
        let name = ResourceName::new("intel.com", "vf-a_1").unwrap();
        assert_eq!(name.to_string(), "intel.com/vf-a_1");
        assert_eq!(name.variable(), "PCIDEVICE_INTEL_COM_VF-A_1");
    }

    #[test]
    fn name_that_the_kubelet_refuses_is_refused() {
        for (prefix, name) in [
            ("", "a"),
            ("Bad", "a"),
            ("x/y", "a"),
            ("a..b", "a"),
            ("-a", "a"),
            ("kubernetes.io", "a"),
            ("x.kubernetes.io", "a"),
            ("mykubernetes.io", "a"),
            ("requests.x", "a"),
            ("a.b", ""),
            ("a.b", "a.b"),
            ("a.b", "_a"),
        ] {
            assert!(ResourceName::new(prefix, name).is_err(), "{prefix} {name}");
        }
    }
}
