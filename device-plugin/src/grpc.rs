//! One gRPC server a pool: lists, allocations, preferences; and what it answers to kubelet's plugin watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use sriov_config::resources::ResourceName;
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Code, Request, Response, Status};

use crate::allocate::{self, Allocated, Node, NotUsable};
use crate::means::{Event, FilesError, Means};
use crate::observe::{ObserveError, observe};
use crate::pools::{DeviceId, Pool, PoolDevice};
use crate::prefer;
use crate::proto::pluginregistration as watcher;
use crate::proto::v1beta1 as api;

/// The server of one pool; clones share the pool.
#[derive(Clone, Debug)]
pub struct PoolServer {
    /// The pool as it is now.
    pub pool: watch::Receiver<Arc<Pool>>,
    /// What it answers with.
    pub means: Means,
    /// Path of the socket that it is served on.
    pub endpoint: String,
    /// Whether this socket is served no longer: its streams end then.
    pub is_over: watch::Receiver<bool>,
    /// How many streams of lists are open.
    pub streams: watch::Sender<usize>,
    /// Told when kubelet refuses the registration.
    pub refused: mpsc::Sender<ResourceName>,
}

type List = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl api::device_plugin_server::DevicePlugin for PoolServer {
    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        Ok(Response::new(api::DevicePluginOptions {
            pre_start_required: true,
            get_preferred_allocation_available: true,
        }))
    }

    type ListAndWatchStream = List;

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<List>, Status> {
        // A late stream begins with the newest list, a slow one skips those between: each is complete.
        let open = OpenStream::new(self);
        let mut sent: Option<Arc<Pool>> = None;
        let lists = WatchStream::new(self.pool.clone()).filter_map(move |pool| {
            let before = sent.replace(Arc::clone(&pool));
            let told_now = told(&pool);
            // What changed of a pool may be nothing that kubelet is told.
            if before.is_some_and(|before| told(&before) == told_now) {
                return None;
            }
            open.sent();
            Some(Some(Ok(list(told_now))))
        });
        let over =
            WatchStream::new(self.is_over.clone()).filter_map(|is_over| is_over.then_some(None));
        Ok(Response::new(Box::pin(
            lists.merge(over).map_while(|list| list),
        )))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        let pool = self.pool.borrow().clone();
        let containers = request
            .into_inner()
            .container_requests
            .into_iter()
            .map(|container| {
                let size = usize::try_from(container.allocation_size).unwrap_or(0);
                let device_ids = prefer::prefer(
                    &pool.devices,
                    &container.available_device_i_ds,
                    &container.must_include_device_i_ds,
                    size,
                    pool.resource.allocation_policy,
                );
                api::ContainerPreferredAllocationResponse {
                    device_i_ds: device_ids,
                }
            });
        Ok(Response::new(api::PreferredAllocationResponse {
            container_responses: containers.collect(),
        }))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        let pool = self.pool.borrow().clone();
        let containers = request.into_inner().container_requests;
        let start = Instant::now();
        let answers: Result<Vec<_>, Status> = containers
            .iter()
            .map(|container| self.allocate_one(&pool, &container.devices_ids))
            .collect();
        let code = answers.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.means.metrics.of(&pool.resource.name, |counts| {
            *counts.allocations.entry(name_of(code)).or_default() += 1;
            counts.allocate_time.observe(start.elapsed());
        });
        let answers = answers?;
        Ok(Response::new(api::AllocateResponse {
            container_responses: answers,
        }))
    }

    async fn pre_start_container(
        &self,
        request: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        let pool = self.pool.borrow().clone();
        let devices = self.look_up(&pool, &request.into_inner().devices_ids)?;
        allocate::answer(&pool.resource, &devices)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}

impl PoolServer {
    fn allocate_one(
        &self,
        pool: &Pool,
        ids: &[String],
    ) -> Result<api::ContainerAllocateResponse, Status> {
        let devices = self.look_up(pool, ids)?;
        for device in &devices {
            if let Some(why) = pool.unhealthy.get(&device.device.id) {
                let id = device.id();
                return Err(Status::failed_precondition(format!("`{id}`: {why}")));
            }
        }
        let refused = |error: NotUsable| Status::failed_precondition(error.to_string());
        // All of the answer stands before the first file is written.
        let answer = allocate::answer(&pool.resource, &devices).map_err(refused)?;
        // Told first: until a pod shows them, these files are not nobody's.
        let told = Event::Allocated(pool.resource.name.clone(), ids.to_vec());
        let _ = self.means.events.send(told);
        let mut cdi_devices = Vec::new();
        for (allocated, nodes) in devices.iter().zip(&answer.nodes) {
            let info = allocate::device_info(allocated).map_err(refused)?;
            let (name, id) = (&pool.resource.name, allocated.id());
            let internal = |error: FilesError| Status::internal(crate::plugin::chain(&error));
            if let Some(info) = info {
                self.means.write_info(name, &id, &info).map_err(internal)?;
            }
            let name = self.means.write_cdi(name, &id, nodes);
            let name = name.map_err(internal)?;
            cdi_devices.extend(name.map(|name| api::CdiDevice { name }));
        }
        tracing::info!("{}: allocated {}", pool.resource.name, ids.join(", "));
        let node = |Node { host, container }| api::DeviceSpec {
            container_path: container,
            host_path: host,
            permissions: "rw".to_owned(),
        };
        let nodes = match &self.means.cdi {
            Some(_) => Vec::new(),
            None => answer.all_nodes(),
        };
        Ok(api::ContainerAllocateResponse {
            devices: nodes.into_iter().map(node).collect(),
            envs: answer.envs.into_iter().collect(),
            cdi_devices,
            ..api::ContainerAllocateResponse::default()
        })
    }

    /// The devices as they are now: an unknown, vanished or rebound one is an error, never a half-filled answer.
    fn look_up<'a>(&self, pool: &'a Pool, ids: &[String]) -> Result<Vec<Allocated<'a>>, Status> {
        if ids.is_empty() {
            return Err(Status::invalid_argument("no device ids"));
        }
        let mut seen = BTreeSet::new();
        ids.iter()
            .map(|id| {
                if seen.insert(id) {
                    self.look_up_one(pool, id)
                } else {
                    Err(Status::invalid_argument(format!(
                        "device `{id}` is named twice"
                    )))
                }
            })
            .collect()
    }

    fn look_up_one<'a>(&self, pool: &'a Pool, id: &str) -> Result<Allocated<'a>, Status> {
        let name = &pool.resource.name;
        let unknown = || Status::not_found(format!("`{id}` is no device of {name}"));
        let known = id.parse::<DeviceId>().map_err(|_not_an_id| unknown())?;
        let mut devices = pool.devices.iter();
        let device = devices.find(|device| device.id == known).ok_or_else(|| {
            match pool.unhealthy.get(&known) {
                Some(why) => Status::failed_precondition(format!("`{id}`: {why}")),
                None => unknown(),
            }
        })?;
        observe(&self.means.host, device).map_err(|error| refusal(&error))
    }
}

/// A stream of lists that kubelet reads; counted while it lives.
struct OpenStream {
    resource: ResourceName,
    means: Means,
    streams: watch::Sender<usize>,
}

impl OpenStream {
    fn new(server: &PoolServer) -> Self {
        let resource = server.pool.borrow().resource.name.clone();
        let means = server.means.clone();
        means.metrics.of(&resource, |counts| counts.streams += 1);
        let streams = server.streams.clone();
        streams.send_modify(|open| *open += 1);
        Self {
            resource,
            means,
            streams,
        }
    }

    fn sent(&self) {
        let Self {
            resource, means, ..
        } = self;
        means.metrics.of(resource, |counts| counts.lists += 1);
        let _ = means.events.send(Event::Listed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let Self {
            resource,
            means,
            streams,
        } = self;
        means.metrics.of(resource, |counts| counts.streams -= 1);
        streams.send_modify(|open| *open -= 1);
    }
}

/// The codes that Allocate answers with, by the names of gRPC.
fn name_of(code: Code) -> &'static str {
    if code == Code::Ok {
        "OK"
    } else if code == Code::InvalidArgument {
        "INVALID_ARGUMENT"
    } else if code == Code::NotFound {
        "NOT_FOUND"
    } else if code == Code::FailedPrecondition {
        "FAILED_PRECONDITION"
    } else if code == Code::Unavailable {
        "UNAVAILABLE"
    } else {
        "INTERNAL"
    }
}

/// The code of a device that cannot be given.
fn refusal(error: &ObserveError) -> Status {
    match error {
        ObserveError::NotUsable(why) => Status::failed_precondition(why.to_string()),
        ObserveError::Read { .. } => Status::internal(crate::plugin::chain(error)),
    }
}

#[tonic::async_trait]
impl watcher::registration_server::Registration for PoolServer {
    async fn get_info(
        &self,
        _: Request<watcher::InfoRequest>,
    ) -> Result<Response<watcher::PluginInfo>, Status> {
        Ok(Response::new(watcher::PluginInfo {
            r#type: "DevicePlugin".to_owned(),
            name: self.pool.borrow().resource.name.to_string(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["v1beta1".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<watcher::RegistrationStatus>,
    ) -> Result<Response<watcher::RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let name = self.pool.borrow().resource.name.clone();
        if status.plugin_registered {
            tracing::info!("{name}: registered with kubelet");
            self.means.metrics.of(&name, |counts| counts.accepted += 1);
        } else {
            tracing::error!("{name}: kubelet refuses the registration: {}", status.error);
            // A full channel already holds a retry.
            let _ = self.refused.try_send(name);
        }
        Ok(Response::new(watcher::RegistrationStatusResponse {}))
    }
}

/// What kubelet is told of each device: whether it is healthy, and its NUMA node.
type ToldDevices<'a> = BTreeMap<&'a DeviceId, (bool, Option<u32>)>;

/// What kubelet is told of a pool.
fn told(pool: &Pool) -> ToldDevices<'_> {
    let node = |device: &PoolDevice| {
        let has_topology = !pool.resource.exclude_topology;
        device.numa_node.filter(|_| has_topology)
    };
    let devices = pool.devices.iter();
    let mut told: BTreeMap<_, _> = devices
        .map(|device| (&device.id, (true, node(device))))
        .collect();
    for id in pool.unhealthy.keys() {
        told.entry(id).or_insert((false, None)).0 = false;
    }
    told
}

/// The list of a pool, ordered by id.
fn list(told: ToldDevices<'_>) -> api::ListAndWatchResponse {
    let device = |(id, (is_healthy, node)): (&DeviceId, (bool, Option<u32>))| api::Device {
        id: id.to_string(),
        health: if is_healthy { "Healthy" } else { "Unhealthy" }.to_owned(),
        topology: node.map(|node| api::TopologyInfo {
            nodes: vec![api::NumaNode { id: node.into() }],
        }),
    };
    api::ListAndWatchResponse {
        devices: told.into_iter().map(device).collect(),
    }
}
