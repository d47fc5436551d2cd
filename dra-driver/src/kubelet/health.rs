//! The health of the published devices, for the status of pods: the whole list after each change, and again before the kubelet takes it for outdated.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sriov_inventory::pool::Pools;
use sriov_inventory::unhealthy::Unhealthy;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_stream::wrappers::{IntervalStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::proto::{health_v1, health_v1alpha1};
use crate::publish::device::name_of;

/// The kubelet takes a device for unknown when its report is older, in seconds.
const TIMEOUT: i64 = 60;
/// A third of the timeout: two reports may be lost.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// The service, in both versions of its API: the kubelet 1.36 has the older one only.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// The pools that this driver publishes.
    pub(super) pools: watch::Receiver<Arc<Pools>>,
    /// Name of the pool in the slices.
    pub(super) node: String,
    /// Whether the sockets are no longer served: the streams end then.
    pub(super) is_over: watch::Receiver<bool>,
}

/// A device as it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Report {
    device: String,
    /// Absent for a healthy device.
    reason: Option<String>,
}

/// The reports of all devices.
fn reports(pools: &Pools) -> Vec<Report> {
    let mut all = Vec::new();
    for pool in &pools.pools {
        all.extend(pool.ids().into_iter().map(|id| Report {
            device: name_of(id),
            reason: pool.unhealthy.get(id).map(Unhealthy::to_string),
        }));
    }
    all
}

impl Health {
    /// The lists of one stream: the newest first, each change, and the newest again after each heartbeat.
    fn lists(&self) -> impl Stream<Item = Vec<Report>> + Send + use<> {
        let pools = self.pools.clone();
        let changes = WatchStream::new(self.pools.clone()).map(|pools| (reports(&pools), false));
        // The first tick is now, when the newest list is sent anyway.
        let beats = IntervalStream::new(interval(HEARTBEAT)).skip(1);
        let beats = beats.map(move |_| (reports(&pools.borrow()), true));
        let mut sent = None;
        let lists = changes.merge(beats).filter_map(move |(list, is_beat)| {
            let is_due = is_beat || sent.as_ref() != Some(&list);
            sent = Some(list.clone());
            is_due.then_some(Some(list))
        });
        let over = WatchStream::new(self.is_over.clone());
        let over = over.filter_map(|is_over| is_over.then_some(None));
        lists.merge(over).map_while(|list| list)
    }
}

/// Seconds since 1970; the kubelet replaces it by the time when it gets the report.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or_default()
}

/// Implements one version of the service; both have the same messages in packages of their own.
macro_rules! serve {
    ($api:ident) => {
        #[tonic::async_trait]
        impl $api::dra_resource_health_server::DraResourceHealth for Health {
            type NodeWatchResourcesStream = Pin<
                Box<dyn Stream<Item = Result<$api::NodeWatchResourcesResponse, Status>> + Send>,
            >;

            async fn node_watch_resources(
                &self,
                _: Request<$api::NodeWatchResourcesRequest>,
            ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
                let node = self.node.clone();
                let device = move |Report { device, reason }: Report| $api::DeviceHealth {
                    device: Some($api::DeviceIdentifier {
                        pool_name: node.clone(),
                        device_name: device,
                    }),
                    health: match reason {
                        None => $api::HealthStatus::Healthy,
                        Some(_) => $api::HealthStatus::Unhealthy,
                    }
                    .into(),
                    last_updated_time: now(),
                    health_check_timeout_seconds: TIMEOUT,
                    message: reason.unwrap_or_default(),
                };
                let responses = self.lists().map(move |list| {
                    let devices = list.into_iter().map(&device).collect();
                    Ok($api::NodeWatchResourcesResponse { devices })
                });
                Ok(Response::new(Box::pin(responses)))
            }
        }
    };
}

serve!(health_v1);
serve!(health_v1alpha1);

#[cfg(test)]
mod tests;
