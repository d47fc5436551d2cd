//! Unbinds and binds the driver of a VF.

use std::time::Instant;

use sriov_host::netlink::{Link, Netlink};
use sriov_host::{HostRoot, PciAddress, sysfs};

use super::error::KernelError;
use super::target::{SETTLE, SETTLE_STEP, Target};
use crate::device::DeviceError;

/// Rebinds the driver of a device, whichever it is.
///
/// # Errors
/// [`DeviceError::NoDriver`], or the refused write.
pub(super) fn rebind(root: &HostRoot, device: PciAddress) -> Result<(), KernelError> {
    let driver = sysfs::presence(root, device)?
        .and_then(|presence| presence.driver)
        .ok_or(DeviceError::NoDriver(device))?;
    Ok(sysfs::rebind(root, device, &driver)?)
}

/// Rebinds the driver of a VF, and waits for its new network device.
///
/// # Errors
/// As for [`rebind`], and [`KernelError::NoLink`] when no network device appears.
pub(super) async fn rebind_netdev(
    target: &Target,
    root: &HostRoot,
    host: &Netlink,
) -> Result<Link, KernelError> {
    rebind(root, target.device)?;
    let deadline = Instant::now() + SETTLE;
    loop {
        if let Some(index) = sysfs::netdev_index(root, target.device)? {
            let link = host.link(index).await;
            let link = link.map_err(|source| target.link_error(source))?;
            return link.ok_or(KernelError::NoLink(target.device));
        }
        if Instant::now() > deadline {
            return Err(KernelError::NoLink(target.device));
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}
