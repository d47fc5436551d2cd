//! The task that creates events on claims. Whoever refuses a claim sends one and does not wait; the kubelet repeats, so that the same event is created rarely.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sriov_device_info::claims::ClaimRef;
use sriov_host::chain;
use tokio::sync::mpsc;

use super::clock;
use crate::api::client::ApiServer;
use crate::api::events::ClaimEvent;
use crate::settings::{DriverName, NodeName};

/// Events that wait for the API server; more are dropped.
const WAITING: usize = 64;
/// The same event is not created again within this time.
const AGAIN: Duration = Duration::from_mins(10);

/// Sends events; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<ClaimEvent>);

impl Recorder {
    /// The recorder, and the events for the task.
    pub(super) fn new() -> (Self, mpsc::Receiver<ClaimEvent>) {
        let (send, receive) = mpsc::channel(WAITING);
        (Self(send), receive)
    }

    /// Reports why a claim is refused. Never waits.
    pub(crate) fn warn(&self, claim: ClaimRef, reason: &'static str, message: String) {
        let event = ClaimEvent {
            claim,
            reason,
            message,
        };
        if self.0.try_send(event).is_err() {
            tracing::debug!("an event on a claim was dropped");
        }
    }
}

/// The task.
pub(super) struct EventsTask {
    pub(super) api: ApiServer,
    pub(super) driver: DriverName,
    pub(super) node: NodeName,
    pub(super) events: mpsc::Receiver<ClaimEvent>,
}

impl EventsTask {
    /// Runs until all recorders are gone.
    pub(super) async fn run(mut self) {
        let mut created: BTreeMap<(String, String), Instant> = BTreeMap::new();
        while let Some(event) = self.events.recv().await {
            created.retain(|_, at| at.elapsed() < AGAIN);
            let key = (event.claim.uid.clone(), event.message.clone());
            if created.contains_key(&key) {
                continue;
            }
            created.insert(key, Instant::now());
            let now = clock::now();
            let answer = self.api.create_event(&self.driver, &self.node, &event, now);
            if let Err(error) = answer.await {
                tracing::debug!(error = %chain(&error), "an event on a claim is lost");
            }
        }
    }
}
