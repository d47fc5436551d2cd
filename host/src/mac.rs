//! The Ethernet MAC address newtype.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A six-byte Ethernet address, printed as the kernel does: `52:54:00:00:00:10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// `00:00:00:00:00:00`: as a VF's administrative address it means "not set"; setting it unpins the address on igb.
    pub const ZERO: Self = Self([0; 6]);

    /// Takes the six bytes as they are on the wire.
    pub fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes as they are on the wire.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Whether all bytes are zero.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Another address, which differs in the last bit only.
    #[must_use]
    pub fn neighbour(self) -> Self {
        let mut bytes = self.0;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        Self(bytes)
    }

    /// Whether a single station can own it: not zero and not multicast (the kernel's `is_valid_ether_addr`).
    pub fn is_station(self) -> bool {
        let [first, ..] = self.0;
        !self.is_zero() && first & 1 == 0
    }
}

/// A text that is not a six-byte MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a MAC address: expected six pairs of hexadecimal digits joined by `:` or `-`"
)]
pub struct InvalidMacAddr {
    text: String,
}

impl FromStr for MacAddr {
    type Err = InvalidMacAddr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidMacAddr {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for MacAddr {
    type Error = InvalidMacAddr;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<MacAddr> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut pairs = text.split(separator);
    let mut bytes = [0; 6];
    for byte in &mut bytes {
        let pair = pairs.next()?;
        let two_digits = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = if two_digits {
            u8::from_str_radix(pair, 16).ok()?
        } else {
            return None;
        };
    }
    pairs.next().is_none().then_some(MacAddr(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_with_colons_dashes_or_upper_case_is_read() {
        for text in [
            "52:54:00:ab:cd:ef",
            "52-54-00-AB-CD-EF",
            "52:54:00:AB:cd:EF",
        ] {
            assert_eq!(
                text.parse::<MacAddr>().unwrap().to_string(),
                "52:54:00:ab:cd:ef"
            );
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
            "52:54:00:ab:cd:ef:",
            "5254.00ab.cdef",
            "52:54-00:ab:cd:ef",
            "52:54:00:ab:cd:g0",
            "52:54:00:ab:cd:+1",
            "525400abcdef",
            " 52:54:00:ab:cd:ef",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_and_multicast_are_not_addresses_of_a_station() {
        for (text, station) in [
            ("00:00:00:00:00:00", false),
            ("01:00:5e:00:00:01", false),
            ("02:00:00:00:00:01", true),
        ] {
            assert_eq!(
                text.parse::<MacAddr>().unwrap().is_station(),
                station,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn round_trips(bytes: [u8; 6]) {
            let mac = MacAddr::new(bytes);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<MacAddr>();
        }
    }
}
