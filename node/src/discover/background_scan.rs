//! Looks at the devices on a thread of its own: a read of sysfs that blocks must not stop the core loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sriov_config::ResourceList;
use sriov_device_info::claims::ClaimStore;
use sriov_host::HostRoot;
use sriov_host::sysfs::ScanError;
use tokio::task::{JoinError, JoinHandle};

use super::pipeline::{Discovery, Seen};
use super::scan::scan;
use crate::counts::{Counts, Shared};

/// A look that takes longer is reported as overdue. It takes about a second for thousands of VFs.
const DEADLINE: Duration = Duration::from_secs(10);

/// A look failed.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundScanError {
    /// sysfs cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The thread panicked.
    #[error("the scan ended early")]
    Ended(#[source] JoinError),
    /// It has not finished in time; it goes on, and its result is reported later.
    #[error("a read of sysfs has blocked for {} s", DEADLINE.as_secs())]
    Overdue,
}

/// The state for the next look, and what was seen.
type Finished = (Discovery, Result<Seen, ScanError>);

/// The looks, one after the other.
#[derive(Debug)]
pub struct BackgroundScans {
    host: HostRoot,
    counts: Arc<Shared<Counts>>,
    discovery: Discovery,
    running: Option<Running>,
    /// Something changed since the running look began.
    wanted: Option<Arc<ResourceList>>,
}

#[derive(Debug)]
struct Running {
    task: JoinHandle<Finished>,
    deadline: Instant,
    is_overdue: bool,
}

impl BackgroundScans {
    /// No look yet.
    pub fn new(host: HostRoot, claims: ClaimStore, counts: Arc<Shared<Counts>>) -> Self {
        Self {
            host,
            counts,
            discovery: Discovery::continuous(claims),
            running: None,
            wanted: None,
        }
    }

    /// Looks at the devices now, or again after the look in progress.
    pub fn request(&mut self, config: &Arc<ResourceList>) {
        if self.running.is_some() {
            self.wanted = Some(Arc::clone(config));
            return;
        }
        let (host, counts) = (self.host.clone(), Arc::clone(&self.counts));
        let (config, mut discovery) = (Arc::clone(config), self.discovery.clone());
        let task = tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            let seen = scan(&host, &counts)
                .map(|scanned| discovery.look(&host, &config, scanned, start.elapsed()));
            (discovery, seen)
        });
        self.running = Some(Running {
            task,
            deadline: Instant::now() + DEADLINE,
            is_overdue: false,
        });
    }

    /// Whether the look in progress should have finished.
    pub fn is_overdue(&self) -> bool {
        self.running.as_ref().is_some_and(|look| look.is_overdue)
    }

    /// Waits for the end of the look in progress, or until it is overdue. Safe to cancel.
    ///
    /// # Errors
    /// The caller keeps what was seen before.
    pub async fn next(&mut self) -> Result<Seen, BackgroundScanError> {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let finished = if running.is_overdue {
            (&mut running.task).await
        } else {
            let deadline = running.deadline.into();
            match tokio::time::timeout_at(deadline, &mut running.task).await {
                Ok(finished) => finished,
                Err(_elapsed) => {
                    running.is_overdue = true;
                    self.count_overdue(true);
                    return Err(BackgroundScanError::Overdue);
                }
            }
        };
        let was_overdue = running.is_overdue;
        self.running = None;
        if was_overdue {
            self.count_overdue(false);
        }
        let seen = self.take(finished);
        if let Some(config) = self.wanted.take() {
            self.request(&config);
        }
        seen
    }

    fn take(&mut self, finished: Result<Finished, JoinError>) -> Result<Seen, BackgroundScanError> {
        let (discovery, seen) = finished.map_err(BackgroundScanError::Ended)?;
        self.discovery = discovery;
        Ok(seen?)
    }

    fn count_overdue(&self, is_overdue: bool) {
        self.counts.count(|counts| {
            counts.is_scan_overdue = is_overdue;
            counts.failed_scans += u64::from(is_overdue);
        });
    }
}
