//! What a claim gets for a device: the same as a container that the kubelet gives the device, as data that the front end keeps and writes.

use sriov_device_info::DeviceInfo;
use sriov_host::HostRoot;
use sriov_inventory::pool::{Pool, PoolDevice};

use super::GrantError;
use super::recheck::recheck;
use super::share::{self, Share};

/// What a container gets for a device of a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimShare {
    /// Facts for the environment, and device nodes.
    pub share: Share,
    /// The content of its device-info file; absent for a subfunction.
    pub info: Option<DeviceInfo>,
}

/// Reads a device of a pool as it is now, and makes what a container gets for it.
///
/// `driver` is the driver that the claim has bound to it; without it the device has the driver of the scan.
///
/// # Errors
/// When the device was removed, has another driver, or lacks what its resource promises.
pub fn look(
    host: &HostRoot,
    pool: &Pool,
    device: &PoolDevice,
    driver: Option<&str>,
) -> Result<ClaimShare, GrantError> {
    let mut device = device.clone();
    if let Some(driver) = driver {
        device.driver = driver.into();
    }
    let allocated = recheck(host, &device)?;
    Ok(ClaimShare {
        share: share::share(pool, &allocated)?,
        info: share::device_info(&allocated)?,
    })
}
