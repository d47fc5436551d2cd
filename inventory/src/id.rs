//! The id of a device: the PCI address of a function, or the name of a subfunction's auxiliary device.

use std::fmt;
use std::str::FromStr;

use sriov_host::PciAddress;

/// Id of a device, unique on its node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// A PCI function.
    Function(PciAddress),
    /// A subfunction, for instance `mlx5_core.sf.4`.
    Subfunction(String),
}

/// A text that is not the id of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a PCI address nor a subfunction like `mlx5_core.sf.4`")]
pub struct InvalidDeviceId(String);

impl DeviceId {
    /// The PCI function that is part of a name, as other drivers make names of addresses: `pci-0000-3b-02-0`, `0000:3b:02.0`.
    pub fn in_name(name: &str) -> Option<Self> {
        let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let (bytes, length) = (name.as_bytes(), "0000:00:00.0".len());
        let parts =
            (0..bytes.len()).filter_map(|start| Some((start, bytes.get(start..start + length)?)));
        let mut whole = parts.filter(|(start, _)| {
            let before = start.checked_sub(1).and_then(|before| bytes.get(before));
            !is_word(before) && !is_word(bytes.get(start + length))
        });
        whole.find_map(|(_, part)| {
            let [domain @ .., _, b1, b0, _, d1, d0, _, function] = part else {
                return None;
            };
            let domain = std::str::from_utf8(domain).ok()?;
            let [b1, b0, d1, d0, function] =
                [b1, b0, d1, d0, function].map(|byte| char::from(*byte));
            let address = format!("{domain}:{b1}{b0}:{d1}{d0}.{function}");
            let is_separator = |at: usize| part.get(at).is_some_and(|byte| b"-_:.".contains(byte));
            let address = address
                .parse()
                .ok()
                .filter(|_| [4, 7, 10].into_iter().all(is_separator));
            address.map(Self::Function)
        })
    }

    /// The address of a PCI function.
    pub fn address(&self) -> Option<PciAddress> {
        match self {
            Self::Function(address) => Some(*address),
            Self::Subfunction(_) => None,
        }
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDeviceId;

    /// Auxiliary devices are called `<module>.<kind>.<number>` (Documentation/driver-api/auxiliary_bus.rst); a path never has this form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Function(address));
        }
        match text.split('.').collect::<Vec<_>>().as_slice() {
            [module, "sf", number] if is_module(module) && number.parse::<u32>().is_ok() => {
                Ok(Self::Subfunction(text.to_owned()))
            }
            _ => Err(InvalidDeviceId(text.to_owned())),
        }
    }
}

fn is_module(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !name.is_empty() && name.bytes().all(is_allowed)
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(address) => address.fmt(f),
            Self::Subfunction(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_found_in_a_name_of_another_driver() {
        for (name, address) in [
            ("0000-3b-02-0", Some("0000:3b:02.0")),
            ("pci-0000-3b-02-0", Some("0000:3b:02.0")),
            ("vendor.com/vf=0000:3b:02.7", Some("0000:3b:02.7")),
            ("10000-3b-02-0", None),
            ("0000-3b-02-01", None),
            ("000003b002000", None),
            ("eth0", None),
            ("gpu-ü-0000-3b-0", None),
            ("", None),
        ] {
            let found = DeviceId::in_name(name).map(|id| id.to_string());
            assert_eq!(found.as_deref(), address, "{name}");
        }
    }

    #[test]
    fn only_addresses_and_subfunction_names_are_ids() {
        for text in ["0000:01:10.0", "mlx5_core.sf.4"] {
            let id: DeviceId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.address().is_some(), text.contains(':'));
        }
        for text in [
            "",
            "x",
            "mlx5_core.eth.4",
            "a.sf.",
            ".sf.1",
            "../x.sf.1",
            "a.sf.1.2",
        ] {
            assert!(text.parse::<DeviceId>().is_err(), "{text}");
        }
    }
}
