//! Newtypes of the PCI bus: the address of a function, and the root complex above it; nothing here reads a device.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Address of a PCI function in the kernel's spelling `dddd:bb:dd.f` (lower-case hexadecimal).
///
/// The domain may have more than four digits (VMD uses `10000:`), as in the kernel's format `%04x:%02x:%02x.%d` (`pci_setup_device`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// The PCI domain (segment).
    pub fn domain(self) -> u32 {
        self.domain
    }

    /// The bus number.
    pub fn bus(self) -> u8 {
        self.bus
    }

    /// The device number, 0 to 31.
    pub fn device(self) -> u8 {
        self.device
    }

    /// The function number, 0 to 7.
    pub fn function(self) -> u8 {
        self.function
    }
}

/// A text that is not a PCI address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a PCI address: expected `dddd:bb:dd.f` in hexadecimal, device at most 1f, function at most 7"
)]
pub struct InvalidPciAddress {
    text: String,
}

impl FromStr for PciAddress {
    type Err = InvalidPciAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidPciAddress {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for PciAddress {
    type Error = InvalidPciAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

/// A PCI root complex in the kernel's spelling `pcidddd:bb`, the name of its directory in `/sys/devices`
/// (drivers/pci/probe.c, `pci_register_host_bridge`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcieRoot {
    domain: u32,
    bus: u8,
}

/// A text that does not name a PCI root complex.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a PCI root: expected `pcidddd:bb` in hexadecimal")]
pub struct InvalidPcieRoot {
    text: String,
}

impl FromStr for PcieRoot {
    type Err = InvalidPcieRoot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_root(text).ok_or_else(|| InvalidPcieRoot {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for PcieRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus } = self;
        write!(f, "pci{domain:04x}:{bus:02x}")
    }
}

fn parse_root(text: &str) -> Option<PcieRoot> {
    let (domain, bus) = text.strip_prefix("pci")?.split_once(':')?;
    Some(PcieRoot {
        domain: parse_domain(domain)?,
        bus: u8::try_from(hex(bus, 2, 2)?).ok()?,
    })
}

fn parse(text: &str) -> Option<PciAddress> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let address = PciAddress {
        domain: parse_domain(domain)?,
        bus: u8::try_from(hex(bus, 2, 2)?).ok()?,
        device: u8::try_from(hex(device, 2, 2)?).ok()?,
        function: u8::try_from(hex(function, 1, 1)?).ok()?,
    };
    (address.device < 32 && address.function < 8).then_some(address)
}

/// `00010000` and `10000` would be one device with two names: only the kernel's shortest form is accepted.
fn parse_domain(digits: &str) -> Option<u32> {
    let is_shortest = digits.len() == 4 || !digits.starts_with('0');
    hex(digits, 4, 8).filter(|_| is_shortest)
}

fn hex(digits: &str, min: usize, max: usize) -> Option<u32> {
    let fits = (min..=max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_is_read_and_printed_as_in_the_kernel() {
        for (text, printed) in [
            ("0000:01:10.0", "0000:01:10.0"),
            ("0000:AF:06.7", "0000:af:06.7"),
            ("10000:e1:00.0", "10000:e1:00.0"),
            ("ffff:ff:1f.7", "ffff:ff:1f.7"),
        ] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "01:10.0",
            "0000:01:10",
            "0000:01:10.8",
            "0000:01:20.0",
            "0000:1:10.0",
            "00000:01:10.0",
            "0000:01:10.0 ",
            " 0000:01:10.0",
            "0000:01:10.00",
            "0000:+1:10.0",
            "0000:01:1g.0",
            "../0000:01:10.0",
            "0000:01:10.0/..",
            "0000:01:10.0\n",
            "mlx5_core.sf.4",
            "123456789:01:10.0",
        ] {
            let error = text.parse::<PciAddress>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn root_is_the_name_of_a_root_complex_and_nothing_else() {
        for text in ["pci0000:20", "pci10000:e1"] {
            assert_eq!(text.parse::<PcieRoot>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "pci",
            "pci0000",
            "0000:20",
            "pci0000:2",
            "pci00000:20",
            "pci0000:20:00.0",
            "platform",
        ] {
            let error = text.parse::<PcieRoot>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(domain: u32, bus: u8, device in 0u8..32, function in 0u8..8) {
            let address = PciAddress { domain, bus, device, function };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn root_round_trips(domain: u32, bus: u8) {
            let root = PcieRoot { domain, bus };
            prop_assert_eq!(root.to_string().parse(), Ok(root));
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<PciAddress>();
            let _ = text.parse::<PcieRoot>();
        }
    }
}
