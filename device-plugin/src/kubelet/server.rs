//! The device plugin API of one pool: lists, allocations, preferences.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use sriov_config::resource_list::ResourceName;
use sriov_host::chain;
use sriov_inventory::pool::Pool;
use sriov_inventory::prefer;
use sriov_node::grant::granted::{Granted, all_nodes, environment};
use sriov_node::grant::share::DeviceNode;
use sriov_node::grant::{GrantError, Granter};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Code, Request, Response, Status};

use super::counts::SharedKubeletCounts;
use super::lists::{OpenStream, listed, message};
use super::served_pool::ServedPool;
use crate::proto::v1beta1 as api;

/// The server of one pool; clones share the pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolServer {
    /// The pool as it is now.
    pub(crate) pool: watch::Receiver<Arc<ServedPool>>,
    pub(crate) granter: Granter,
    pub(crate) counts: Arc<SharedKubeletCounts>,
    /// Whether this socket is no longer served: its streams end then.
    pub(crate) is_over: watch::Receiver<bool>,
    /// Number of open ListAndWatch streams.
    pub(crate) streams: watch::Sender<usize>,
}

type List = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl api::device_plugin_server::DevicePlugin for PoolServer {
    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        Ok(Response::new(options()))
    }

    type ListAndWatchStream = List;

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<List>, Status> {
        let lists = self.lists().map(Some);
        let over = WatchStream::new(self.is_over.clone());
        let over = over.filter_map(|is_over| is_over.then_some(None));
        let until_over = lists.merge(over).map_while(|list| list);
        Ok(Response::new(Box::pin(until_over)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        let served = self.pool.borrow().clone();
        let requests = request.into_inner().container_requests;
        let responses = requests.iter().map(|request| preferred(&served, request));
        Ok(Response::new(api::PreferredAllocationResponse {
            container_responses: responses.collect(),
        }))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        let served = self.pool.borrow().clone();
        let requests = request.into_inner().container_requests;
        let start = Instant::now();
        let responses = self.allocate_all(Arc::clone(&served), requests).await;
        let code = responses.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.counts.of(&served.pool.name, |counts| {
            *counts.allocations.entry(name_of(code)).or_default() += 1;
            counts.allocate_time.observe(start.elapsed());
        });
        Ok(Response::new(api::AllocateResponse {
            container_responses: responses?,
        }))
    }

    /// Always succeeds: the kubelet would not start the container, nor any container with a device while the plugin is away.
    async fn pre_start_container(
        &self,
        request: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        self.report(request.into_inner().devices_ids).await;
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}

impl PoolServer {
    /// Allocates on another thread: a read of sysfs that blocks stops this call only.
    async fn allocate_all(
        &self,
        served: Arc<ServedPool>,
        requests: Vec<api::ContainerAllocateRequest>,
    ) -> Result<Vec<api::ContainerAllocateResponse>, Status> {
        let granter = self.granter.clone();
        let allocate = move || {
            let requests = requests.iter();
            requests
                .map(|request| allocate(&granter, &served.pool, &request.devices_ids))
                .collect()
        };
        let allocated = tokio::task::spawn_blocking(allocate).await;
        allocated.map_err(|ended| Status::internal(chain(&ended)))?
    }

    /// Reports devices of a container that it may not be able to use; their health is judged for all devices alike.
    async fn report(&self, ids: Vec<String>) {
        let (granter, served) = (self.granter.clone(), self.pool.borrow().clone());
        let pool = served.pool.name.clone();
        let verify = move || granter.verify(&served.pool, &ids);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(verify).await {
            tracing::warn!(%pool, error = %chain(&error), "a container starts with a device that it may not be able to use");
            self.counts
                .of(&pool, |counts| counts.pre_start_findings += 1);
        }
    }

    /// The lists of one stream: the newest list first, then each change; a slow stream skips lists, as each list is complete.
    fn lists(&self) -> impl Stream<Item = Result<api::ListAndWatchResponse, Status>> + use<> {
        let (counts, events) = (Arc::clone(&self.counts), self.granter.events.clone());
        let open = OpenStream::new(self.name(), counts, events, self.streams.clone());
        let mut sent: Option<Arc<ServedPool>> = None;
        WatchStream::new(self.pool.clone()).filter_map(move |pool| {
            let before = sent.replace(Arc::clone(&pool));
            let now = listed(&pool);
            // A pool may have changed in what its list does not contain.
            if before.is_some_and(|before| listed(&before) == now) {
                return None;
            }
            open.sent();
            Some(Ok(message(now)))
        })
    }

    fn name(&self) -> ResourceName {
        self.pool.borrow().pool.name.clone()
    }
}

/// The calls that the kubelet makes.
pub(super) fn options() -> api::DevicePluginOptions {
    api::DevicePluginOptions {
        pre_start_required: false,
        get_preferred_allocation_available: true,
    }
}

fn allocate(
    granter: &Granter,
    pool: &Pool,
    ids: &[String],
) -> Result<api::ContainerAllocateResponse, Status> {
    let devices = granter.grant(pool, ids);
    let devices = devices.map_err(|error| status(&error))?;
    tracing::info!(pool = %pool.name, devices = %ids.join(", "), "allocated");
    Ok(container_response(&pool.name, &devices))
}

fn container_response(
    resource: &ResourceName,
    granted: &[Granted],
) -> api::ContainerAllocateResponse {
    let node = |DeviceNode { host, container }| api::DeviceSpec {
        container_path: container,
        host_path: host,
        permissions: "rw".to_owned(),
    };
    let cdi_names = granted.iter().filter_map(|device| device.cdi_name.clone());
    api::ContainerAllocateResponse {
        devices: all_nodes(granted).into_iter().map(node).collect(),
        envs: environment(resource, granted).into_iter().collect(),
        cdi_devices: cdi_names.map(|name| api::CdiDevice { name }).collect(),
        ..api::ContainerAllocateResponse::default()
    }
}

fn preferred(
    served: &ServedPool,
    request: &api::ContainerPreferredAllocationRequest,
) -> api::ContainerPreferredAllocationResponse {
    let size = usize::try_from(request.allocation_size).unwrap_or(0);
    let device_ids = prefer::prefer(
        &served.pool.devices,
        &request.available_device_i_ds,
        &request.must_include_device_i_ds,
        size,
        served.preferences.allocation_policy,
    );
    api::ContainerPreferredAllocationResponse {
        device_i_ds: device_ids,
    }
}

/// The gRPC status of a refused grant.
fn status(error: &GrantError) -> Status {
    match error {
        GrantError::NoIds | GrantError::NamedTwice(_) => {
            Status::invalid_argument(error.to_string())
        }
        GrantError::Unknown { .. } => Status::not_found(error.to_string()),
        GrantError::Unhealthy { .. } | GrantError::Claimed { .. } | GrantError::NotUsable(_) => {
            Status::failed_precondition(error.to_string())
        }
        GrantError::Read { .. } | GrantError::Files(_) | GrantError::Claims(_) => {
            Status::internal(chain(error))
        }
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
