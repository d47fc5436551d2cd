//! Queries the kubelet's pod resources: which pod has which device, and which devices the kubelet can allocate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sriov_inventory::id::DeviceId;
use sriov_inventory::owners::{Allocatable, ClaimHolder, Holder, Holders, Owners, PodHolder};

use crate::proto::v1::pod_resources_lister_client::PodResourcesListerClient;
use crate::proto::v1::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, DynamicResource,
    ListPodResourcesRequest, ListPodResourcesResponse,
};
use crate::unix_channel;

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

/// The answers of the kubelet; each call can fail separately.
#[derive(Debug)]
pub struct Answer {
    /// The holder of each device.
    pub holders: Result<Holders, PodResourcesError>,
    /// The allocatable devices; old kubelets lack the call.
    pub allocatable: Result<Allocatable, PodResourcesError>,
}

impl Answer {
    /// Replaces what was answered; what was not is kept, or unknown. Returns why the holders could not be refreshed.
    ///
    /// # Errors
    /// When List failed: the former holders are kept.
    pub fn update(self, owners: &mut Owners) -> Result<(), PodResourcesError> {
        let listed = match self.holders {
            Ok(holders) => {
                owners.pods.get_or_insert_default().holders = holders;
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Some(pods) = &mut owners.pods {
            pods.allocatable = self.allocatable.ok();
        }
        owners.is_stale = listed.is_err();
        listed
    }
}

/// Queries the kubelet, over one connection.
///
/// # Errors
/// When it cannot be reached; the caller keeps the previous answer.
pub async fn query(socket: &Path, deadline: Duration) -> Result<Answer, PodResourcesError> {
    let connect = |source| PodResourcesError::Connect {
        path: socket.to_owned(),
        source,
    };
    let channel = unix_channel::connect(socket, deadline)
        .await
        .map_err(connect)?;
    let mut client = PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST);
    let refused = |status| PodResourcesError::Refused(Box::new(status));
    let pods = client.list(ListPodResourcesRequest {}).await;
    let allocatable = client
        .get_allocatable_resources(AllocatableResourcesRequest {})
        .await;
    Ok(Answer {
        holders: pods.map(|pods| holders(pods.into_inner())).map_err(refused),
        allocatable: allocatable
            .map(|listed| by_resource(listed.into_inner()))
            .map_err(refused),
    })
}

fn holders(pods: ListPodResourcesResponse) -> Holders {
    let mut all = Holders::new();
    for pod in pods.pod_resources {
        for container in &pod.containers {
            for devices in &container.devices {
                // Ids of another form are devices of other plugins.
                let ids = devices.device_ids.iter().filter_map(|id| id.parse().ok());
                for id in ids {
                    all.entry(id).or_default().push(Holder::from(PodHolder {
                        resource: devices.resource_name.clone(),
                        namespace: pod.namespace.clone(),
                        pod: pod.name.clone(),
                        container: container.name.clone(),
                    }));
                }
            }
            for claim in &container.dynamic_resources {
                add_claim(&mut all, claim);
            }
        }
    }
    all
}

/// Adds the devices of a claim, whichever driver prepared it; a claim may be listed by several containers.
fn add_claim(all: &mut Holders, claim: &DynamicResource) {
    for device in &claim.claim_resources {
        let cdi = device.cdi_devices.iter().map(|cdi| cdi.name.as_str());
        let mut names = [device.device_name.as_str()].into_iter().chain(cdi);
        let Some(id) = names.find_map(DeviceId::in_name) else {
            continue;
        };
        let holder = Holder::from(ClaimHolder {
            resource: device.driver_name.clone(),
            namespace: claim.claim_namespace.clone(),
            name: claim.claim_name.clone(),
            uid: String::new(),
        });
        let holders = all.entry(id).or_default();
        if !holders.contains(&holder) {
            holders.push(holder);
        }
    }
}

fn by_resource(listed: AllocatableResourcesResponse) -> Allocatable {
    let mut all = Allocatable::new();
    for devices in listed.devices {
        // The kubelet lists one entry for each NUMA node of a resource.
        let ids = all.entry(devices.resource_name).or_default();
        ids.extend(devices.device_ids);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{CdiDevice, ClaimResource, ContainerResources, PodResources};

    const ID: &str = "0000:3b:02.0";

    fn refused() -> PodResourcesError {
        PodResourcesError::Refused(Box::new(tonic::Status::unimplemented("no such call")))
    }

    fn pod_with_claim(device: &str, cdi: &str) -> ListPodResourcesResponse {
        let device = ClaimResource {
            cdi_devices: vec![CdiDevice { name: cdi.into() }],
            driver_name: "dra.net".into(),
            pool_name: "node".into(),
            device_name: device.into(),
        };
        let claim = DynamicResource {
            claim_name: "c".into(),
            claim_namespace: "default".into(),
            claim_resources: vec![device],
        };
        let container = ContainerResources {
            name: "app".into(),
            devices: Vec::new(),
            dynamic_resources: vec![claim],
        };
        ListPodResourcesResponse {
            pod_resources: vec![PodResources {
                name: "p".into(),
                namespace: "default".into(),
                containers: vec![container.clone(), container],
            }],
        }
    }

    #[test]
    fn device_of_another_drivers_claim_is_held() {
        for (device, cdi, is_held) in [
            ("pci-0000-3b-02-0", "", true),
            ("vf", "x.y/vf=0000:3b:02.0", true),
            ("gpu-0", "x.y/gpu=0", false),
        ] {
            let held = holders(pod_with_claim(device, cdi));
            let holders = held.get(&ID.parse().unwrap());
            let names: Vec<String> = holders
                .into_iter()
                .flatten()
                .map(Holder::to_string)
                .collect();
            let expected: &[&str] = if is_held { &["claim default/c"] } else { &[] };
            assert_eq!(names, expected, "{device} {cdi}");
        }
    }

    #[test]
    fn each_call_may_fail_alone() {
        let mut owners = Owners::default();
        let held = || holders(pod_with_claim(ID, ""));
        let allocatable = Allocatable::from([("x.y/vf".to_owned(), [ID.to_owned()].into())]);
        let mut check = |holders, answered, is_stale, is_held, is_known| {
            let answer = Answer {
                holders,
                allocatable: answered,
            };
            assert_eq!(answer.update(&mut owners).is_err(), is_stale);
            assert_eq!(owners.is_stale, is_stale);
            assert_eq!(owners.is_held(&ID.parse().unwrap()), is_held);
            let pods = owners.pods.as_ref();
            assert_eq!(
                pods.is_some_and(|pods| pods.allocatable.is_some()),
                is_known
            );
        };
        check(Err(refused()), Ok(allocatable.clone()), true, None, false);
        check(Ok(held()), Err(refused()), false, Some(true), false);
        check(Ok(held()), Ok(allocatable.clone()), false, Some(true), true);
        // The former holders are kept.
        check(Err(refused()), Ok(allocatable), true, Some(true), true);
        check(
            Ok(Holders::new()),
            Err(refused()),
            false,
            Some(false),
            false,
        );
    }
}
