//! The driver that a claim wishes for its VFs.

use std::fmt;
use std::str::FromStr;

/// A driver for programs of the pod: `vfio-pci` or another driver of the kinds vfio and uio.
///
/// A claim is written by a user and executed by root, so it may not load any driver of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDriver(String);

/// The driver that a VF has while its claim is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WishedDriver {
    /// The one that makes it a network device, which it must have already.
    Network,
    /// A driver for programs, which is bound.
    User(UserDriver),
}

/// A text that is not such a driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a driver for programs: expected vfio-pci, a name that ends with vfio-pci or vfio_pci, igb_uio or uio_pci_generic"
)]
pub struct InvalidUserDriver(String);

impl UserDriver {
    /// Its name in sysfs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserDriver {
    type Err = InvalidUserDriver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_name = text.len() <= 64 && text.bytes().all(is_allowed);
        let is_vfio = text.ends_with("vfio-pci") || text.ends_with("vfio_pci");
        if is_name && (is_vfio || ["igb_uio", "uio_pci_generic"].contains(&text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUserDriver(text.to_owned()))
        }
    }
}

impl fmt::Display for UserDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
