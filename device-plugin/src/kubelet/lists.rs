//! The lists of ListAndWatch: what the kubelet gets of a pool, and the streams that are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::resource_list::ResourceName;
use sriov_inventory::id::DeviceId;
use sriov_node::holders::event::Event;
use tokio::sync::{mpsc, watch};

use super::counts::SharedKubeletCounts;
use super::served_pool::ServedPool;
use crate::proto::v1beta1 as api;

/// What a list contains of each device: whether it is healthy, and its NUMA node.
pub(super) type Listed<'a> = BTreeMap<&'a DeviceId, (bool, Option<u32>)>;

/// What a list of this pool contains.
pub(super) fn listed(served: &ServedPool) -> Listed<'_> {
    let ServedPool { pool, preferences } = served;
    let has_topology = !preferences.exclude_topology;
    let mut listed = Listed::new();
    for device in pool.devices.iter() {
        let node = device.numa_node.filter(|_| has_topology);
        listed.insert(&device.id, (true, node));
    }
    for id in pool.unhealthy.keys() {
        listed.entry(id).or_insert((false, None)).0 = false;
    }
    listed
}

/// The list as a message, ordered by id.
pub(super) fn message(listed: Listed<'_>) -> api::ListAndWatchResponse {
    let devices = listed.into_iter();
    api::ListAndWatchResponse {
        devices: devices
            .map(|(id, (is_healthy, node))| device(id, is_healthy, node))
            .collect(),
    }
}

fn device(id: &DeviceId, is_healthy: bool, node: Option<u32>) -> api::Device {
    api::Device {
        id: id.to_string(),
        health: if is_healthy { "Healthy" } else { "Unhealthy" }.to_owned(),
        topology: node.map(|node| api::TopologyInfo {
            nodes: vec![api::NumaNode { id: node.into() }],
        }),
    }
}

/// An open ListAndWatch stream; counted while it exists.
pub(super) struct OpenStream {
    resource: ResourceName,
    counts: Arc<SharedKubeletCounts>,
    events: mpsc::UnboundedSender<Event>,
    streams: watch::Sender<usize>,
}

impl OpenStream {
    pub(super) fn new(
        resource: ResourceName,
        counts: Arc<SharedKubeletCounts>,
        events: mpsc::UnboundedSender<Event>,
        streams: watch::Sender<usize>,
    ) -> Self {
        counts.of(&resource, |counts| counts.streams += 1);
        streams.send_modify(|open| *open += 1);
        Self {
            resource,
            counts,
            events,
            streams,
        }
    }

    /// Counts and reports a list that was sent.
    pub(super) fn sent(&self) {
        self.counts.of(&self.resource, |counts| counts.lists += 1);
        let _ = self.events.send(Event::Listed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        // A stream may end after its resource has left the configuration.
        self.counts.of_existing(&self.resource, |counts| {
            counts.streams = counts.streams.saturating_sub(1);
        });
        self.streams.send_modify(|open| *open -= 1);
    }
}
