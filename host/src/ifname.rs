//! The network interface name newtype and the kernel's rule for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of a network interface: 1 to 15 bytes, not `.` or `..`, no `/`, `:` or white space.
///
/// The rule is the kernel's `dev_valid_name` (`net/core/dev.c`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that the kernel takes for no interface name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an interface name: expected 1 to 15 bytes, not `.` or `..`, without `/`, `:` and white space"
)]
pub struct InvalidIfName {
    text: String,
}

impl FromStr for IfName {
    type Err = InvalidIfName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused =
            |b: u8| b == b'/' || b == b':' || b == 0 || b == 0x0b || b.is_ascii_whitespace();
        let valid = (1..=15).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.bytes().any(refused);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIfName {
                text: text.to_owned(),
            })
        }
    }
}

impl TryFrom<String> for IfName {
    type Error = InvalidIfName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_kernel_keeps() {
        for text in [
            "net1",
            "eth0",
            "enp3s0f0v12",
            "a",
            "123456789012345",
            "...",
            "n@t",
            "é",
        ] {
            assert_eq!(text.parse::<IfName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a:1",
            "a b",
            "a\tb",
            "a\n",
            "a\u{b}",
            "a\0",
            "1234567890123456",
        ] {
            assert!(text.parse::<IfName>().is_err(), "{text:?}");
        }
    }
}
