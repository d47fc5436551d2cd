//! Looks at one device of a pool at this moment: a few attributes of that device, never a scan of the machine.

use sriov_host::HostRoot;
use sriov_host::sysfs::ScanError;
use sriov_host::sysfs::nodes::{self, Wanted};

use crate::allocate::{Allocated, NotUsable};
use crate::pools::PoolDevice;

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
    let id = || device.address.to_string();
    let read = |source| ObserveError::Read { id: id(), source };
    let wanted = Wanted {
        rdma: device.gives.rdma,
        vdpa: device.gives.vdpa.is_some(),
    };
    let (function, nodes) = nodes::function_now(host, device.address, wanted)
        .map_err(read)?
        .ok_or_else(|| NotUsable::Gone(id()))?;
    if function.driver.as_ref() != Some(&device.driver) {
        let (now, was) = (function.driver.clone(), device.driver.clone());
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
        function,
        nodes,
    })
}
