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

/// What a claim changes about a device of its pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// The driver that the claim has bound to it; without it the device has the driver of the scan.
    pub driver: Option<&'a str>,
    /// Whether a container gets `/dev/vhost-net` and `/dev/net/tun`, also if the resource does not say so.
    pub vhost_net: bool,
}

/// Reads a device of a pool as it is now, and makes what a container gets for it.
///
/// # Errors
/// When the device was removed, has another driver, or lacks what its resource promises.
pub fn look(
    host: &HostRoot,
    pool: &Pool,
    device: &PoolDevice,
    wishes: Wishes<'_>,
) -> Result<ClaimShare, GrantError> {
    let mut device = device.clone();
    if let Some(driver) = wishes.driver {
        device.driver = driver.into();
    }
    device.extras.vhost_net |= wishes.vhost_net;
    let allocated = recheck(host, &device)?;
    Ok(ClaimShare {
        share: share::share(pool, &allocated)?,
        info: share::device_info(&allocated)?,
    })
}
