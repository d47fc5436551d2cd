//! Starts the driver of a VF again.
//!
//! A VF whose driver starts again has a new network device on the host, wherever the old one was, and nothing is stacked on it.

use std::time::{Duration, Instant};

use sriov_host::netlink::{Link, Netlink};
use sriov_host::{HostRoot, PciAddress, driver, sysfs};

use super::error::KernelError;
use super::target::{SETTLE_STEP, Target};

/// Time in which a driver makes the network device: some do it after a message from the PF (iavf).
const START: Duration = Duration::from_secs(10);

/// Unbinds and binds the driver of a VF, whichever it is, and waits for its new network device; returns the index.
///
/// # Errors
/// [`KernelError::Driver`], or [`KernelError::NoLink`] when no network device appears.
pub(super) async fn restart(root: &HostRoot, device: PciAddress) -> Result<u32, KernelError> {
    driver::restart(root, device)?;
    await_netdev(root, device, START).await
}

/// Waits until the VF has a network device on the host; returns its index.
///
/// # Errors
/// [`KernelError::NoLink`].
pub(super) async fn await_netdev(
    root: &HostRoot,
    device: PciAddress,
    time: Duration,
) -> Result<u32, KernelError> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(index) = sysfs::netdev_index(root, device)? {
            return Ok(index);
        }
        if Instant::now() > deadline {
            return Err(KernelError::NoLink(device));
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
}

/// Restarts the driver of a VF on its way into a pod, and reads the new network device.
///
/// # Errors
/// As for [`restart`], and [`KernelError::Link`].
pub(super) async fn restart_netdev(
    target: &Target,
    root: &HostRoot,
    host: &Netlink,
) -> Result<Link, KernelError> {
    let index = restart(root, target.device).await?;
    let link = host.link(index).await;
    let link = link.map_err(|source| target.link_error(source))?;
    link.ok_or(KernelError::NoLink(target.device))
}
