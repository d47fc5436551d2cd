//! Looks at one device of a pool at this moment: a few attributes of that device, never a scan of the machine.

use sriov_host::HostRoot;
use sriov_host::sysfs::ScanError;
use sriov_host::sysfs::nodes::{self, DeviceNow, Wanted};

use crate::allocate::{Allocated, NotUsable};
use crate::pools::{DeviceId, PoolDevice};

/// A device cannot be given to a pod.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// It is not what it was.
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    /// sysfs could not be read.
    #[error("cannot look at device `{id}`")]
    Read {
        /// The device.
        id: String,
        /// Why.
        source: ScanError,
    },
}

/// Reads what a device is now.
///
/// # Errors
/// [`ObserveError::NotUsable`] when it is gone or has another driver than its pool knows.
pub fn observe<'a>(host: &HostRoot, device: &'a PoolDevice) -> Result<Allocated<'a>, ObserveError> {
    let id = || device.id.to_string();
    let read = |source| ObserveError::Read { id: id(), source };
    let wanted = Wanted {
        rdma: device.gives.rdma,
        vdpa: device.gives.vdpa.is_some(),
    };
    let now = match &device.id {
        DeviceId::Function(address) => nodes::function_now(host, *address, wanted),
        DeviceId::Subfunction(name) => nodes::subfunction_now(host, name, wanted),
    };
    let DeviceNow {
        driver,
        iommu_group,
        nodes,
    } = now.map_err(read)?.ok_or_else(|| NotUsable::Gone(id()))?;
    if driver.as_ref() != Some(&device.driver) {
        let (now, was) = (driver, device.driver.clone());
        return Err(NotUsable::Rebound {
            id: id(),
            now: now.unwrap_or_else(|| "none".to_owned()),
            was,
        }
        .into());
    }
    Ok(Allocated {
        device,
        has_rdma_cm: device.gives.rdma && nodes::has_misc(host, "rdma_cm"),
        iommu_group,
        nodes,
    })
}
