//! Queries the kubelet's pod resources: which pod has which device, and which devices the kubelet can allocate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_inventory::owners::{Holder, PodDevices, PodHolder};
use tonic::transport::Endpoint;

use crate::proto::v1::pod_resources_lister_client::PodResourcesListerClient;
use crate::proto::v1::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ListPodResourcesRequest,
    ListPodResourcesResponse,
};

/// The kubelet normally answers within milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// The limit that the kubelet's own clients use; the default of 4 MiB is too small for a large node.
const LARGEST: usize = 16 * 1024 * 1024;

/// The kubelet did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PodResourcesError {
    /// It could not be reached.
    #[error("cannot reach the kubelet's pod resources on `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It refused.
    #[error("the kubelet refused the query of its pod resources: {}", .0.message())]
    Refused(Box<tonic::Status>),
}

/// The socket below the kubelet's root directory.
pub fn socket(kubelet_dir: &Path) -> PathBuf {
    kubelet_dir.join("pod-resources/kubelet.sock")
}

/// Queries the kubelet, over one connection.
///
/// # Errors
/// The caller keeps the previous answer.
pub async fn query(socket: &Path, deadline: Duration) -> Result<PodDevices, PodResourcesError> {
    let connect = |source| PodResourcesError::Connect {
        path: socket.to_owned(),
        source,
    };
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(connect)?
        .connect_timeout(deadline)
        .timeout(deadline)
        .connect()
        .await
        .map_err(connect)?;
    let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST);
    let refused = |status| PodResourcesError::Refused(Box::new(status));
    let pods = client
        .list(ListPodResourcesRequest {})
        .await
        .map_err(refused)?;
    let allocatable = client
        .get_allocatable_resources(AllocatableResourcesRequest {})
        .await
        .map_err(refused)?;
    Ok(read(pods.into_inner(), allocatable.into_inner()))
}

fn read(pods: ListPodResourcesResponse, allocatable: AllocatableResourcesResponse) -> PodDevices {
    let mut read = PodDevices::default();
    for pod in pods.pod_resources {
        for container in pod.containers {
            for devices in container.devices {
                for id in devices.device_ids {
                    // Ids of another form are devices of other plugins.
                    let Ok(id) = id.parse() else { continue };
                    let holders = read.holders.entry(id).or_default();
                    holders.push(Holder::Pod(PodHolder {
                        resource: devices.resource_name.clone(),
                        namespace: pod.namespace.clone(),
                        pod: pod.name.clone(),
                        container: container.name.clone(),
                    }));
                }
            }
        }
    }
    for devices in allocatable.devices {
        // The kubelet lists one entry for each NUMA node of a resource.
        let ids = read.allocatable.entry(devices.resource_name).or_default();
        ids.extend(devices.device_ids);
    }
    read
}
