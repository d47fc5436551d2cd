//! The channels between the tasks of a daemon.

use std::sync::Arc;

use sriov_host::snapshot::HostSnapshot;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use tokio::sync::{mpsc, watch};

use crate::holders::event::Event;

/// The channels.
#[derive(Debug)]
pub struct Channels {
    /// The published pools, from the core loop.
    pub send_pools: watch::Sender<Arc<Pools>>,
    /// The published pools, for all other tasks.
    pub pools: watch::Receiver<Arc<Pools>>,
    /// The newest snapshot of the machine, from the core loop.
    pub send_snapshot: watch::Sender<Arc<HostSnapshot>>,
    /// The newest snapshot of the machine, for the counters of its VFs.
    pub snapshot: watch::Receiver<Arc<HostSnapshot>>,
    /// Who holds which device, from the task of the holders.
    pub send_owners: watch::Sender<Arc<Owners>>,
    /// Who holds which device, for all other tasks.
    pub owners: watch::Receiver<Arc<Owners>>,
    /// Requests to look at the holders again.
    pub send_events: mpsc::UnboundedSender<Event>,
    /// The same, for the task of the holders.
    pub events: mpsc::UnboundedReceiver<Event>,
}

impl Default for Channels {
    fn default() -> Self {
        let (send_pools, pools) = watch::channel(Arc::default());
        let (send_snapshot, snapshot) = watch::channel(Arc::default());
        let (send_owners, owners) = watch::channel(Arc::default());
        let (send_events, events) = mpsc::unbounded_channel();
        Self {
            send_pools,
            pools,
            send_snapshot,
            snapshot,
            send_owners,
            owners,
            send_events,
            events,
        }
    }
}
