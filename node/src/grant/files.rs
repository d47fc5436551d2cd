//! The files of granted devices: the device information that the CNI plugins read, and CDI specifications.

use sriov_config::resource_list::ResourceName;
use sriov_device_info::{DeviceInfo, Store, StoreError};
use sriov_inventory::id::DeviceId;

use super::cdi::{CdiDir, CdiError};
use super::share::DeviceNode;

/// Where the files of granted devices are.
#[derive(Clone, Debug)]
pub struct DeviceFiles {
    /// The device-info files.
    pub store: Store,
    /// The CDI specifications; absent when device nodes are passed directly.
    pub cdi: Option<CdiDir>,
}

/// The files of a device could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Its device-info file.
    #[error(transparent)]
    DeviceInfo(#[from] StoreError),
    /// Its CDI specification.
    #[error(transparent)]
    Cdi(#[from] CdiError),
}

impl DeviceFiles {
    /// Writes the device-info file of a granted device.
    ///
    /// # Errors
    /// The file that existed before is unchanged.
    pub fn write_info(
        &self,
        resource: &ResourceName,
        id: &DeviceId,
        info: &DeviceInfo,
    ) -> Result<(), FilesError> {
        let path = self.store.path_of_device(resource, id);
        Ok(Store::write(&path, info)?)
    }

    /// Writes the CDI specification of a granted device and returns its name; absent without CDI, and for a device without nodes.
    ///
    /// # Errors
    /// The file that existed before is unchanged.
    pub fn write_cdi(
        &self,
        resource: &ResourceName,
        id: &DeviceId,
        nodes: &[DeviceNode],
    ) -> Result<Option<String>, FilesError> {
        match &self.cdi {
            Some(cdi) => Ok(cdi.write(resource, id, nodes)?),
            None => Ok(None),
        }
    }
}
