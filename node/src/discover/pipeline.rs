//! The stages from a scan to the pools, for the daemons and the command line tools alike: a new stage is added here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sriov_config::ResourceList;
use sriov_device_info::claims::ClaimStore;
use sriov_host::snapshot::{HostSnapshot, ScanProblem};
use sriov_host::{HostRoot, PciAddress};
use sriov_inventory::assign::plan_pools;
use sriov_inventory::class_hint::class_hint;
use sriov_inventory::id::DeviceId;
use sriov_inventory::node_use::{NodeUse, NodeUses};
use sriov_inventory::offer::Offer;
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;

use super::enrich;
use super::rebound::show_own_drivers;
use super::settle::Settling;
use super::uplinks::uplinks;

/// A PF whose VFs are being created or removed is scanned again after this time, or later when a scan takes long.
const SCAN_AGAIN: Duration = Duration::from_millis(50);

/// The stages that read the machine, with their state from one look to the next. They may block for as long as the kernel does.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Absent for a single look, which shows the machine as it is.
    settling: Option<Settling>,
    /// The hand-over files of prepared claims; absent for a machine file, which has no claims.
    claims: Option<ClaimStore>,
    /// The newest settled snapshot.
    before: Arc<HostSnapshot>,
    /// Problems of the newest scan, each logged once.
    problems: Vec<ScanProblem>,
}

/// What a look found.
#[derive(Debug)]
pub struct Seen {
    snapshot: Arc<HostSnapshot>,
    uplinks: NodeUses,
    /// Whether a PF was left out because no scan has seen it settled.
    is_partial: bool,
    /// When to scan again, if some PF is not settled.
    scan_again: Option<Instant>,
}

impl Seen {
    /// Whether all devices are known: no PF is left out because its VFs are still being created.
    pub fn is_complete(&self) -> bool {
        !self.is_partial
    }
}

impl Discovery {
    /// For many looks: while VFs are being created or removed their PF stays as it was.
    pub fn continuous(claims: ClaimStore) -> Self {
        Self {
            settling: Some(Settling::default()),
            claims: Some(claims),
            ..Self::default()
        }
    }

    /// Takes a scan: own drivers, settle, enrich, uplinks. `scan_time` is how long the scan took.
    pub fn look(
        &mut self,
        host: &HostRoot,
        config: &ResourceList,
        mut scanned: HostSnapshot,
        scan_time: Duration,
    ) -> Seen {
        self.log_problems(&scanned);
        if let Some(claims) = &self.claims {
            show_own_drivers(&mut scanned, claims);
        }
        let (before, now) = (&self.before, Instant::now());
        let settling = self.settling.as_mut();
        let unsettled = settling.map(|settling| settling.unsettled(&scanned, before, now));
        let unsettled = unsettled.unwrap_or_default();
        let mut scan_again = None;
        if !unsettled.is_empty() {
            scan_again = Some(now + SCAN_AGAIN.max(2 * scan_time));
            // A PF that no scan has seen settled is left out: the others are served meanwhile.
            scanned.take_pfs(&unsettled, before);
        }
        let is_new = |pf: &PciAddress| before.function(*pf).is_none();
        let is_partial = unsettled.iter().any(is_new);
        scanned.keep_unreadable(before);
        scanned.keep_capabilities(before);
        enrich::enrich(host, &mut scanned, config);
        let uplinks = uplinks(host, &scanned);
        self.before = Arc::new(scanned);
        Seen {
            snapshot: Arc::clone(&self.before),
            uplinks,
            is_partial,
            scan_again,
        }
    }

    fn log_problems(&mut self, scanned: &HostSnapshot) {
        if self.problems == scanned.problems {
            return;
        }
        // A single look reports the problems in its answer.
        for problem in scanned.problems.iter().filter(|_| self.settling.is_some()) {
            let ScanProblem { device, reason } = problem;
            tracing::warn!(%device, %reason, "cannot read the device");
        }
        self.problems.clone_from(&scanned.problems);
    }
}

/// The pipeline: what was seen, planned by the configuration and judged by the owners.
#[derive(Debug, Default)]
pub struct Pipeline {
    offer: Offer,
    uplinks: NodeUses,
    /// Whether this is a single look, which logs nothing.
    is_single: bool,
    /// Offered devices that the node uses.
    in_use: BTreeMap<DeviceId, NodeUse>,
    /// Hints for resources without devices.
    hints: BTreeMap<String, String>,
}

impl Pipeline {
    /// Looks at the machine once, as it is; `claims` are absent for a machine that has no claims.
    pub fn single(
        host: &HostRoot,
        config: &ResourceList,
        claims: Option<ClaimStore>,
        scanned: HostSnapshot,
    ) -> Self {
        let mut pipeline = Self {
            is_single: true,
            ..Self::default()
        };
        let mut discovery = Discovery {
            claims,
            ..Discovery::default()
        };
        let seen = discovery.look(host, config, scanned, Duration::ZERO);
        pipeline.take(seen, config, &Owners::default());
        pipeline
    }

    /// Plans the pools of what was seen. Returns when to scan again, if some PF is not settled.
    pub fn take(&mut self, seen: Seen, config: &ResourceList, owners: &Owners) -> Option<Instant> {
        self.uplinks = seen.uplinks;
        self.plan(seen.snapshot, config, owners);
        seen.scan_again
    }

    /// Plans the pools of the newest snapshot again, by another configuration.
    pub fn plan_again(&mut self, config: &ResourceList, owners: &Owners) {
        self.plan(Arc::clone(self.offer.snapshot()), config, owners);
    }

    fn plan(&mut self, snapshot: Arc<HostSnapshot>, config: &ResourceList, owners: &Owners) {
        let planned = plan_pools(&snapshot, config, &self.uplinks);
        for (device, reason) in &planned.left_out {
            tracing::debug!(%device, %reason, "in no pool");
        }
        self.log_in_use(&planned);
        self.log_hints(&snapshot, config, &planned);
        self.offer.take(snapshot, planned, owners);
    }

    /// The pools to offer now, judged by who holds what, and when they change by time alone.
    pub fn pools(&mut self, owners: &Owners) -> (Pools, Option<Instant>) {
        self.offer.pools(owners, Instant::now())
    }

    /// The newest settled snapshot.
    pub fn snapshot(&self) -> &Arc<HostSnapshot> {
        self.offer.snapshot()
    }

    /// The network devices that the node itself uses.
    pub fn uplinks(&self) -> &NodeUses {
        &self.uplinks
    }

    /// Logs offered devices that the node uses, each once; a single look reports them in its answer.
    fn log_in_use(&mut self, planned: &Pools) {
        if self.is_single || self.in_use == planned.in_use {
            return;
        }
        for (device, why) in &planned.in_use {
            tracing::warn!(%device, %why, "offering a device that the node uses: a resource names its address");
        }
        self.in_use.clone_from(&planned.in_use);
    }

    /// Logs hints for resources without devices, each once.
    fn log_hints(&mut self, snapshot: &HostSnapshot, config: &ResourceList, planned: &Pools) {
        if self.is_single {
            return;
        }
        let resources = config.resources.iter().zip(&planned.pools);
        let empty = resources.filter(|(_, pool)| pool.devices.is_empty());
        let hints = empty.filter_map(|(resource, _)| {
            let hint = class_hint(snapshot, resource)?;
            Some((resource.name.to_string(), hint.to_string()))
        });
        let hints = hints.collect();
        if self.hints != hints {
            for (resource, hint) in &hints {
                tracing::warn!(%resource, "no device: {hint}");
            }
            self.hints = hints;
        }
    }
}
