//! Reads one device of a pool as it is now: a few attributes of that device, never a scan of the machine.

use sriov_host::HostRoot;
use sriov_host::sysfs::ScanError;
use sriov_host::sysfs::nodes::{self, DeviceNow, Wanted};
use sriov_inventory::id::DeviceId;
use sriov_inventory::pool::PoolDevice;

use super::share::{Allocated, NotUsable};

/// A device cannot be granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecheckError {
    /// It changed since the scan.
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    /// sysfs could not be read.
    #[error("cannot read device `{id}`")]
    Read { id: DeviceId, source: ScanError },
}

/// Reads a device as it is now.
///
/// # Errors
/// [`RecheckError::NotUsable`] when it was removed, or has another driver than at the scan.
pub(super) fn recheck<'a>(
    host: &HostRoot,
    device: &'a PoolDevice,
) -> Result<Allocated<'a>, RecheckError> {
    let wanted = Wanted {
        rdma: device.extras.rdma,
        vdpa: device.extras.vdpa.is_some(),
    };
    let now = match &device.id {
        DeviceId::Function(address) => nodes::function_now(host, *address, wanted),
        DeviceId::Subfunction(name) => nodes::subfunction_now(host, name, wanted),
    };
    let now = now.map_err(|source| RecheckError::Read {
        id: device.id.clone(),
        source,
    })?;
    let DeviceNow {
        driver,
        iommu_group,
        nodes,
    } = now.ok_or_else(|| NotUsable::Gone(device.id.to_string()))?;
    if driver.as_deref() != Some(&*device.driver) {
        let rebound = NotUsable::Rebound {
            id: device.id.to_string(),
            now: driver.unwrap_or_else(|| "none".to_owned()),
            was: device.driver.to_string(),
        };
        return Err(rebound.into());
    }
    Ok(Allocated {
        device,
        has_rdma_cm: device.extras.rdma && nodes::has_misc(host, "rdma_cm"),
        iommu_group,
        nodes,
    })
}
