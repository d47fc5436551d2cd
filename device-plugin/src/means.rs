//! What the servers of all pools answer with: the machine, and the files of devices that pods have.

use std::sync::Arc;

use sriov_config::resources::ResourceName;
use sriov_device_info::{DeviceInfo, Store, StoreError};
use sriov_host::HostRoot;
use tokio::sync::mpsc;

use crate::allocate::Node;
use crate::cdi::{CdiDir, CdiError};
use crate::metrics::Metrics;

/// What happened between kubelet and a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Devices were allocated.
    Allocated(ResourceName, Vec<String>),
    /// A list was sent.
    Listed,
}

/// What the servers of all pools answer with.
#[derive(Clone, Debug)]
pub struct Means {
    /// The machine.
    pub host: HostRoot,
    /// The device-info files.
    pub store: Store,
    /// The CDI specifications, when devices are given by them.
    pub cdi: Option<CdiDir>,
    /// Told what changes who holds what.
    pub events: mpsc::UnboundedSender<Event>,
    /// What happens is counted here.
    pub metrics: Arc<Metrics>,
}

/// The files of a device could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Its device-info file.
    #[error("the device information is not there")]
    DeviceInfo(#[source] StoreError),
    /// Its CDI specification.
    #[error("the CDI specification is not there")]
    Cdi(#[source] CdiError),
}

impl Means {
    /// Writes the device-info file of a device that a pod has.
    ///
    /// # Errors
    /// What was there is there still.
    pub fn write_info(
        &self,
        resource: &ResourceName,
        id: &str,
        info: &DeviceInfo,
    ) -> Result<(), FilesError> {
        let path = self.store.path_of_device(resource, id);
        Store::write(&path, info).map_err(FilesError::DeviceInfo)
    }

    /// Writes the CDI specification of a device that a pod has, and gives its name; nothing in the other mode or when it has no nodes.
    ///
    /// # Errors
    /// What was there is there still.
    pub fn write_cdi(
        &self,
        resource: &ResourceName,
        id: &str,
        nodes: &[Node],
    ) -> Result<Option<String>, FilesError> {
        match &self.cdi {
            Some(cdi) => cdi.write(resource, id, nodes).map_err(FilesError::Cdi),
            None => Ok(None),
        }
    }
}
