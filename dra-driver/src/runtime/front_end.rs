//! Takes the pools of the core loop, and hands them to the publisher.

use std::collections::BTreeMap;
use std::sync::Arc;

use sriov_config::ResourceList;
use sriov_config::resource_list::{AllocationPolicy, Publish, ResourceName};
use sriov_inventory::pool::Pools;
use sriov_node::counts::{Counts, Shared};
use sriov_node::daemon::core_loop::FrontEnd;
use tokio::sync::watch;

/// What this node offers through this driver.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) pools: Pools,
    pub(super) policies: Arc<BTreeMap<ResourceName, AllocationPolicy>>,
}

/// The newest offer; absent until the devices are known: a part of the inventory is never published.
pub(super) type Offers = watch::Receiver<Option<Arc<Offer>>>;

/// The front end.
#[derive(Debug)]
pub(super) struct SliceFrontEnd {
    counts: Arc<Shared<Counts>>,
    policies: Arc<BTreeMap<ResourceName, AllocationPolicy>>,
    offers: watch::Sender<Option<Arc<Offer>>>,
}

impl SliceFrontEnd {
    /// The front end, and where its offers arrive.
    pub(super) fn new(counts: Arc<Shared<Counts>>) -> (Self, Offers) {
        let (offers, receive) = watch::channel(None);
        let front_end = Self {
            counts,
            policies: Arc::default(),
            offers,
        };
        (front_end, receive)
    }
}

impl FrontEnd for SliceFrontEnd {
    const PUBLISH: Publish = Publish::Dra;

    fn configure(&mut self, config: &ResourceList) {
        let resources = config.resources.iter();
        let policy = resources.map(|one| (one.name.clone(), one.allocation_policy));
        self.policies = Arc::new(policy.collect());
    }

    async fn publish(&mut self, pools: Pools) {
        if !self.counts.now().are_devices_known {
            return;
        }
        let offer = Offer {
            pools,
            policies: Arc::clone(&self.policies),
        };
        self.offers.send_replace(Some(Arc::new(offer)));
    }

    /// The slices stay: pods run on, and a new instance continues with them.
    async fn end(self) {}
}
