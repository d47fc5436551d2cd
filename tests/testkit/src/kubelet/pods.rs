//! The pod resources service of the double: a test sets the pods, the plugins' lists are the allocatable devices.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use sriov_node::proto::v1::pod_resources_lister_server::{
    PodResourcesLister, PodResourcesListerServer,
};
use sriov_node::proto::v1::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerDevices,
    ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::resources::{Resource, Resources};

/// The answers of the service.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// The pods, by name.
    pub pods: BTreeMap<String, Pod>,
    /// The error that it returns instead, as the kubelet does beyond its rate limit.
    pub refusal: Option<String>,
    /// Allocatable devices, instead of the listed ones.
    pub allocatable: Option<Vec<(String, Vec<String>)>>,
    /// Number of List calls.
    pub questions: usize,
}

/// A pod of one container, `app`, in the namespace `default`.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Devices by resource.
    pub devices: Vec<(String, Vec<String>)>,
}

impl Pods {
    /// Adds devices to a running pod.
    pub fn run(&mut self, name: &str, resource: &str, ids: &[&str]) {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let pod = self.pods.entry(name.to_owned()).or_default();
        pod.devices.push((resource.to_owned(), ids));
    }
}

/// Serves `kubelet.sock` in a directory.
pub(super) fn listen(
    dir: &Path,
    pods: Arc<Mutex<Pods>>,
    resources: Arc<watch::Sender<Resources>>,
) -> Result<JoinHandle<()>> {
    fs::create_dir_all(dir)?;
    let socket = dir.join("kubelet.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    let service = PodResourcesListerServer::new(Lister { pods, resources });
    Ok(tokio::spawn(async move {
        let _ = Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await;
    }))
}

struct Lister {
    pods: Arc<Mutex<Pods>>,
    resources: Arc<watch::Sender<Resources>>,
}

impl Lister {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Result<Pods, Status> {
        let pods = self.pods();
        match &pods.refusal {
            Some(refusal) => Err(Status::resource_exhausted(refusal.clone())),
            None => Ok(pods.clone()),
        }
    }
}

fn of(devices: impl IntoIterator<Item = (String, Vec<String>)>) -> Vec<ContainerDevices> {
    let entry = |(resource_name, device_ids)| ContainerDevices {
        resource_name,
        device_ids,
    };
    devices.into_iter().map(entry).collect()
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let pod = |(name, pod): (String, Pod)| PodResources {
            name,
            namespace: "default".to_owned(),
            containers: vec![ContainerResources {
                name: "app".to_owned(),
                devices: of(pod.devices),
                dynamic_resources: Vec::new(),
            }],
        };
        self.pods().questions += 1;
        Ok(Response::new(ListPodResourcesResponse {
            pod_resources: self.now()?.pods.into_iter().map(pod).collect(),
        }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let listed = || {
            let healthy = |resource: &Resource| {
                let newest = resource.lists.last().into_iter().flatten();
                let healthy = newest.filter(|device| device.health == "Healthy");
                healthy.map(|device| device.id.clone()).collect()
            };
            let resources = self.resources.borrow();
            let each = resources.iter();
            each.map(|(name, resource)| (name.clone(), healthy(resource)))
                .collect()
        };
        let devices = self.now()?.allocatable.unwrap_or_else(listed);
        Ok(Response::new(AllocatableResourcesResponse {
            devices: of(devices),
        }))
    }
}
