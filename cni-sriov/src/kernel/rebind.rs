//! Unbinds and binds the driver of a VF.

use std::time::Instant;

use sriov_host::netlink::{Link, Netlink};
use sriov_host::{HostRoot, PciAddress, driver, sysfs};

use super::error::KernelError;
use super::target::{SETTLE, SETTLE_STEP, Target};

/// Rebinds the driver of a device, whichever it is.
///
/// # Errors
/// [`KernelError::Driver`], also if the device has no driver.
pub(super) fn rebind(root: &HostRoot, device: PciAddress) -> Result<(), KernelError> {
    driver::restart(root, device)?;
    Ok(())
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
