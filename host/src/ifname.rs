//! The network interface name newtype and the kernel's rule for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of a network interface: 1 to 15 bytes, not `.` or `..`, no `/`, `:`, `%` or white space.
///
/// The rule is the kernel's `dev_valid_name`; with a `%` the kernel would choose a number (`dev_get_valid_name`, `net/core/dev.c`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName([u8; IFNAMSIZ]);

/// Length of a name with its zeros, as in the kernel; the zeros keep the order of the text (`include/uapi/linux/if.h`).
const IFNAMSIZ: usize = 16;

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        let [name @ .., _] = &self.0;
        let name = name.split(|byte| *byte == 0).next();
        // Only text becomes a name.
        name.and_then(|name| str::from_utf8(name).ok())
            .unwrap_or_default()
    }

    /// Reads a name that may have a `%`: the kernel chooses a number in its place, so that no device has such a name.
    ///
    /// # Errors
    /// For a text that breaks another rule.
    pub fn with_percent(text: &str) -> Result<Self, InvalidIfName> {
        Self::read(text, true)
    }

    fn read(text: &str, may_have_percent: bool) -> Result<Self, InvalidIfName> {
        let refused = |b: u8| {
            matches!(b, b'/' | b':' | 0 | 0x0b)
                || b.is_ascii_whitespace()
                || (b == b'%' && !may_have_percent)
        };
        let mut name = [0; IFNAMSIZ];
        let [room @ .., _] = &mut name;
        let room = room.get_mut(..text.len());
        let valid = !matches!(text, "" | "." | "..") && !text.bytes().any(refused);
        let Some(room) = room.filter(|_| valid) else {
            return Err(InvalidIfName {
                text: text.to_owned(),
            });
        };
        room.copy_from_slice(text.as_bytes());
        Ok(Self(name))
    }

    /// Makes a substitute for a name that is not text: `?` and the interface index.
    pub fn stand_in(index: u32) -> Self {
        let mut name = [0; IFNAMSIZ];
        for (place, byte) in name.iter_mut().zip(format!("?{index}").bytes()) {
            *place = byte;
        }
        Self(name)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IfName").field(&self.as_str()).finish()
    }
}

/// A text that is not an interface name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an interface name: expected 1 to 15 bytes, not `.` or `..`, without `/`, `:`, `%` and white space"
)]
pub struct InvalidIfName {
    text: String,
}

impl FromStr for IfName {
    type Err = InvalidIfName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text, false)
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
        name.as_str().to_owned()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_name_is_kept() {
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
    fn stand_in_is_a_valid_name() {
        let name = IfName::stand_in(u32::MAX);
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        assert_eq!(name.as_str(), "?4294967295");
    }

    #[test]
    fn name_is_ordered_and_printed_as_text() {
        let mut names = ["b", "a1", "a", "a10", "a1b"].map(|text| text.parse::<IfName>().unwrap());
        names.sort();
        assert_eq!(
            format!("{names:?}"),
            r#"[IfName("a"), IfName("a1"), IfName("a10"), IfName("a1b"), IfName("b")]"#
        );
    }

    #[test]
    fn name_that_the_kernel_refuses_is_refused() {
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
            "net%d",
            "net%",
        ] {
            assert!(text.parse::<IfName>().is_err(), "{text:?}");
            assert_eq!(
                IfName::with_percent(text).is_ok(),
                text.contains('%'),
                "{text:?}"
            );
        }
    }
}
