//! Names and texts as the kernel returns them: bytes, of which nobody has checked that they are UTF-8.

use std::convert::Infallible;
use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ifname::IfName;

/// A name, alternative name or alias of a link: any bytes without a zero.
///
/// It is printed as text with `\xNN` for each byte that is not UTF-8, for control characters and for the backslash;
/// parsing that text gives the same bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawName(Vec<u8>);

impl RawName {
    /// Takes the bytes up to the first zero.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let name = bytes.split(|byte| *byte == 0).next();
        Self(name.unwrap_or_default().to_vec())
    }

    /// The bytes, without a zero behind them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name as text, if it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// The name as one that can be given to an interface, if it is UTF-8 and short enough.
    pub fn to_ifname(&self) -> Option<IfName> {
        self.to_str()?.parse().ok()
    }

    /// What follows a prefix.
    pub fn strip_prefix(&self, prefix: &str) -> Option<Self> {
        let rest = self.0.strip_prefix(prefix.as_bytes())?;
        Some(Self(rest.to_vec()))
    }
}

impl fmt::Display for RawName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' {
                    let mut bytes = [0; 4];
                    escape(f, c.encode_utf8(&mut bytes).as_bytes())?;
                } else {
                    f.write_char(c)?;
                }
            }
            escape(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

impl fmt::Debug for RawName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for RawName {
    type Err = Infallible;

    /// Reads `\xNN` as a byte; a backslash in front of anything else is itself.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut name = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((byte, after)) = unescape(rest).or_else(|| first(rest)) {
            name.push(byte);
            rest = after;
        }
        Ok(Self::from_bytes(&name))
    }
}

fn first(text: &[u8]) -> Option<(u8, &[u8])> {
    text.split_first().map(|(byte, rest)| (*byte, rest))
}

fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.strip_prefix(b"\\x")?.split_at_checked(2)?;
    let is_hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_hexadecimal)?;
    Some((u8::from_str_radix(digits, 16).ok()?, rest))
}

impl Serialize for RawName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Ok(name) = text.parse();
        Ok(name)
    }
}

/// The bytes of the text; nothing in it is an escape.
impl From<&str> for RawName {
    fn from(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }
}

impl From<String> for RawName {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&IfName> for RawName {
    fn from(name: &IfName) -> Self {
        name.as_str().into()
    }
}

impl PartialEq<str> for RawName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for RawName {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<IfName> for RawName {
    fn eq(&self, other: &IfName) -> bool {
        self == other.as_str()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_printed_escaped() {
        for (bytes, printed) in [
            (&b"net1"[..], "net1"),
            (b"x\xff", r"x\xff"),
            (b"\xc3\xa9\n\\", r"é\x0a\x5c"),
            (b"a\0b", "a"),
            (b"", ""),
        ] {
            let name = RawName::from_bytes(bytes);
            assert_eq!(name.to_string(), printed);
            assert_eq!(printed.parse(), Ok(name));
        }
    }

    #[test]
    fn only_a_valid_name_can_be_given_to_an_interface() {
        assert!(RawName::from("net1").to_ifname().is_some());
        for bytes in [&b"x\xff"[..], b"", b"1234567890123456", b"a b"] {
            assert_eq!(RawName::from_bytes(bytes).to_ifname(), None, "{bytes:?}");
        }
    }

    #[test]
    fn incomplete_escape_is_taken_as_text() {
        for text in [r"\x", r"\xf", r"\xgg", r"a\b", r"\x+1"] {
            assert_eq!(text.parse(), Ok(RawName::from(text)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: Vec<u8>) {
            let name = RawName::from_bytes(&bytes);
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}
