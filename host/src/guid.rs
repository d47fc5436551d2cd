//! The InfiniBand GUID newtype.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An eight-byte InfiniBand GUID (EUI-64), printed as `ip link` does: `02:00:00:00:00:00:00:07`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid([u8; 8]);

impl Guid {
    /// Takes the number as in netlink (`struct ifla_vf_guid`).
    pub fn from_number(number: u64) -> Self {
        Self(number.to_be_bytes())
    }

    /// The number as in netlink.
    pub fn number(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// Whether one port can own it: neither all zeros nor all ones.
    pub fn is_usable(self) -> bool {
        self.number() != 0 && self.number() != u64::MAX
    }
}

/// A text that is not a GUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a GUID: expected eight pairs of hexadecimal digits joined by `:` or `-`")]
pub struct InvalidGuid {
    text: String,
}

impl FromStr for Guid {
    type Err = InvalidGuid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidGuid {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Guid {
    type Error = InvalidGuid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> Self {
        guid.to_string()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<Guid> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut pairs = text.split(separator);
    let mut bytes = [0; 8];
    for byte in &mut bytes {
        let pair = pairs.next()?;
        let two_digits = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = if two_digits {
            u8::from_str_radix(pair, 16).ok()?
        } else {
            return None;
        };
    }
    pairs.next().is_none().then_some(Guid(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colons_dashes_and_upper_case_are_equal() {
        for text in ["02:00:00:00:00:AB:cd:07", "02-00-00-00-00-ab-CD-07"] {
            let guid: Guid = text.parse().unwrap();
            assert_eq!(guid.number(), 0x0200_0000_00ab_cd07);
            assert_eq!(guid.to_string(), "02:00:00:00:00:ab:cd:07");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "02:00:00:00:00:07",
            "02:00:00:00:00:00:00:07:08",
            "2:0:0:0:0:0:0:7",
            "0200:0000:0000:0007",
        ] {
            assert!(text.parse::<Guid>().is_err(), "{text}");
        }
        assert!(!Guid::from_number(0).is_usable() && !Guid::from_number(u64::MAX).is_usable());
    }

    proptest! {
        #[test]
        fn text_round_trips(number: u64) {
            let guid = Guid::from_number(number);
            prop_assert_eq!(guid.to_string().parse::<Guid>().unwrap(), guid);
        }
    }
}
