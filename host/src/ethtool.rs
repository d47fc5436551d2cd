//! Ethtool requests: the device behind a link, and settings of it that a pod can change.
//!
//! Requests go by `ioctl` through a socket, and so to the network namespace in which the socket was opened; nothing is changed.
//! A setting that the driver does not have is absent.

mod ioctl;
mod settings;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

pub use self::settings::EthtoolSettings;
use crate::pci::PciAddress;
use crate::raw_name::RawName;

/// Access to the network devices of one namespace.
#[derive(Debug)]
pub struct Ethtool(OwnedFd);

impl Ethtool {
    /// Opens a socket in the namespace of the calling thread, where it stays.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(
            AddressFamily::Unix,
            SockType::Datagram,
            flags,
            None,
        )?))
    }

    /// Uses any socket, for instance one for netlink.
    pub fn over(socket: impl Into<OwnedFd>) -> Self {
        Self(socket.into())
    }

    /// Name of the device behind a link, as its driver reports it (`ETHTOOL_GDRVINFO`); `None` if there is none.
    ///
    /// For a virtio network device this is the PCI device, not the `virtioN` in between.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn bus_info(&self, link: u32) -> io::Result<Option<RawName>> {
        const BUS_INFO: std::ops::Range<usize> = 100..132;
        let Some(info) = self.driver_info(link)? else {
            return Ok(None);
        };
        let name = RawName::from_bytes(info.get(BUS_INFO).unwrap_or_default());
        Ok(Some(name).filter(|name| !name.is_empty()))
    }

    /// PCI address of the device behind a link, also before Linux 5.14 and for virtio.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn device(&self, link: u32) -> io::Result<Option<PciAddress>> {
        let name = self.bus_info(link)?;
        Ok(name.and_then(|name| name.to_str()?.parse().ok()))
    }

    /// The settings of a link that a pod can change.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn settings(&self, link: u32) -> io::Result<EthtoolSettings> {
        let name = ioctl::name(self.0.as_fd(), link)?;
        settings::read(|command, words| {
            let mut buffer = vec![0; words];
            if let Some(first) = buffer.first_mut() {
                *first = command;
            }
            supported(ioctl::ethtool(self.0.as_fd(), name, &mut buffer))
                .map(|known| known.map(|()| buffer))
        })
    }

    fn driver_info(&self, link: u32) -> io::Result<Option<Vec<u8>>> {
        const GET_DRIVER_INFO: u32 = 3;
        /// `struct ethtool_drvinfo`, `include/uapi/linux/ethtool.h`.
        const WORDS: usize = 49;
        let name = ioctl::name(self.0.as_fd(), link)?;
        let mut info = [0; WORDS];
        info[0] = GET_DRIVER_INFO;
        let known = supported(ioctl::ethtool(self.0.as_fd(), name, &mut info))?;
        Ok(known.map(|()| {
            info.iter()
                .flat_map(|word: &u32| word.to_ne_bytes())
                .collect()
        }))
    }
}

impl AsFd for Ethtool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An unsupported request is absent, not an error.
fn supported<T>(answer: Result<T, Errno>) -> io::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_device_behind_it() {
        let ethtool = Ethtool::open().unwrap();
        assert_eq!(ethtool.device(1).unwrap(), None);
        let settings = ethtool.settings(1).unwrap();
        assert!(
            settings
                .features
                .is_some_and(|features| !features.is_empty())
        );
    }

    #[test]
    fn link_that_is_not_there_is_an_error() {
        let ethtool = Ethtool::open().unwrap();
        for link in [0x7fff_fff0, u32::MAX] {
            let error = ethtool.bus_info(link).unwrap_err().raw_os_error();
            assert_eq!(error.map(Errno::from_raw), Some(Errno::ENODEV), "{link}");
        }
    }
}
