//! The task that keeps the slices of the API server as they should be: one list, one watch, and a write for each difference.

use std::sync::Arc;
use std::time::Duration;

use sriov_host::chain;
use sriov_inventory::owners::Owners;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};

use super::backoff::Backoff;
use super::front_end::Offers;
use super::mirror::{Mirror, News};
use super::report::Report;
use crate::api::client::ApiServer;
use crate::api::error::ApiError;
use crate::api::slices::{Publisher, SliceEvent};
use crate::publish::desired::{Desired, Offered, Slices};
use crate::publish::device::Content;
use crate::publish::plan::{Write, plan};
use crate::settings::{DriverName, NodeName};

/// The API server sends a bookmark each minute: a watch that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(75);
/// Writes in a row that somebody else was faster with, before the task waits.
const CONFLICTS: usize = 5;

/// The task.
pub(super) struct PublisherTask {
    pub(super) api: ApiServer,
    pub(super) driver: DriverName,
    pub(super) node: NodeName,
    pub(super) desired: Desired,
    pub(super) offers: Offers,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) report: Report,
}

/// What wakes the task up.
enum Wake {
    Event(SliceEvent),
    /// The watch ended; the next one continues.
    Ended,
    /// The offer or the owners changed.
    Offered,
}

/// One time with the API server: from a list to the first failure.
struct Session {
    publisher: Publisher,
    mirror: Mirror,
    keeps_taints: bool,
    /// Absent until the devices are known.
    slices: Option<Slices>,
}

impl PublisherTask {
    /// Runs until it is dropped; the slices stay.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let (mut was_expired, mut logged) = (false, String::new());
        loop {
            let failed = self.session(&mut backoff).await;
            let Err(error) = failed else { return };
            let (text, gist) = (chain(&error), error.gist());
            self.report.note(|facts| {
                facts.is_published = false;
                // Each failure is logged once, until a request succeeds.
                if facts.error.is_none() || logged != gist {
                    tracing::warn!(error = %text, "the slices may be out of date");
                }
                facts.error = Some(text);
            });
            logged = gist;
            // The list begins again at a moment that the server still has.
            let is_first = error.is_expired() && !was_expired;
            was_expired = error.is_expired();
            if is_first {
                continue;
            }
            let requested = self.api.observed().pause();
            tokio::time::sleep(backoff.pause(requested)).await;
        }
    }

    /// Lists, then watches and writes; ends well only when the core loop has ended.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), ApiError> {
        let node_uid = self.api.node_uid(&self.node).await?;
        let publisher = Publisher {
            driver: self.driver.clone(),
            node: self.node.clone(),
            node_uid,
        };
        let mirror = Mirror::of(self.api.list_slices(&publisher).await?);
        self.desired.recall(mirror.contents());
        let keeps_taints = self.api.keeps_taints(&publisher).await?;
        self.note_taints(keeps_taints);
        let mut session = Session {
            publisher,
            mirror,
            keeps_taints,
            slices: None,
        };
        loop {
            let version = session.mirror.version();
            let watch = self.api.watch_slices(&session.publisher, version).await?;
            let mut watch = std::pin::pin!(watch);
            let mut heard = Instant::now();
            self.refresh(&mut session);
            loop {
                self.settle(&mut session).await?;
                backoff.reset();
                match self.wake(&mut watch, heard + SILENCE).await {
                    Ok(Some(Wake::Event(event))) => {
                        heard = Instant::now();
                        self.take(&mut session, event);
                    }
                    Ok(Some(Wake::Offered)) => self.refresh(&mut session),
                    Ok(Some(Wake::Ended)) => break,
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Waits for something to do; absent when the core loop has ended.
    ///
    /// The watch is dead at the deadline, however often the offer changes meanwhile.
    async fn wake(
        &mut self,
        watch: &mut (impl Stream<Item = Result<SliceEvent, ApiError>> + Unpin),
        deadline: Instant,
    ) -> Result<Option<Wake>, ApiError> {
        tokio::select! {
            event = tokio::time::timeout_at(deadline, watch.next()) => match event {
                Ok(Some(event)) => Ok(Some(Wake::Event(event?))),
                Ok(None) => Ok(Some(Wake::Ended)),
                Err(_elapsed) => {
                    tracing::debug!("the watch is silent, and is replaced");
                    self.report.note(|facts| facts.silent_watches += 1);
                    Ok(Some(Wake::Ended))
                }
            },
            offered = self.offers.changed() => Ok(offered.ok().map(|()| Wake::Offered)),
            owned = self.owners.changed() => Ok(owned.ok().map(|()| Wake::Offered)),
        }
    }

    /// Makes the desired slices again.
    fn refresh(&mut self, session: &mut Session) {
        let owners = Arc::clone(&self.owners.borrow_and_update());
        let offer = self.offers.borrow_and_update().clone();
        session.slices = offer.map(|offer| {
            self.desired.slices(Offered {
                pools: &offer.pools,
                policies: &offer.policies,
                owners: &owners,
                keeps_taints: session.keeps_taints,
            })
        });
    }

    fn take(&mut self, session: &mut Session, event: SliceEvent) {
        let kind = match session.mirror.take(event) {
            News::None => return,
            News::Deleted => "deleted",
            News::Changed => "changed",
        };
        tracing::info!("somebody {kind} a slice of this driver, checking all");
        self.report
            .note(|facts| *facts.foreign.entry(kind).or_default() += 1);
    }

    /// Writes until nothing differs.
    async fn settle(&mut self, session: &mut Session) -> Result<(), ApiError> {
        let mut conflicts = 0;
        loop {
            let Some(slices) = &session.slices else {
                return Ok(());
            };
            let writes = plan(slices, &session.mirror.existing());
            let Some(write) = writes.into_iter().next() else {
                self.note_published(session);
                return Ok(());
            };
            self.report.note(|facts| facts.is_published = false);
            match self.api.write_slice(&session.publisher, &write).await {
                Ok(stored) => {
                    self.report.wrote(&write);
                    let is_dropped = stored
                        .as_ref()
                        .is_some_and(|stored| drops_taints(&write, stored.content.as_ref()));
                    session.mirror.wrote(&write, stored);
                    if is_dropped && session.keeps_taints {
                        session.keeps_taints = false;
                        self.note_taints(false);
                        self.refresh(session);
                    }
                }
                // Somebody else wrote in between: the slices are read and planned again.
                Err(error)
                    if (error.is_conflict() || error.is_not_found()) && conflicts < CONFLICTS =>
                {
                    tracing::debug!(error = %chain(&error), "reading the slices again");
                    conflicts += 1;
                    let listed = self.api.list_slices(&session.publisher).await?;
                    session.mirror = Mirror::of(listed);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn note_published(&self, session: &Session) {
        let Some(slices) = &session.slices else {
            return;
        };
        let devices = slices.values().map(|content| content.len()).sum();
        let generation = session.mirror.generation();
        self.report.note(|facts| {
            if facts.error.take().is_some() {
                tracing::info!("the API server answers again");
            }
            if !facts.is_published {
                let slices = slices.len();
                tracing::info!(slices, devices, generation, "published");
            }
            facts.is_published = true;
            (facts.slices, facts.devices) = (slices.len(), devices);
            facts.generation = generation;
        });
    }

    fn note_taints(&self, keeps_taints: bool) {
        self.report.note(|facts| {
            if facts.keeps_taints != Some(keeps_taints) && !keeps_taints {
                tracing::warn!(
                    "the API server drops taints (they need Kubernetes 1.36): unhealthy devices that no claim has are left out"
                );
            }
            facts.keeps_taints = Some(keeps_taints);
        });
    }
}

/// Whether the server stored devices without the taints that were sent.
fn drops_taints(write: &Write, stored: Option<&Content>) -> bool {
    let (Write::Create(sent) | Write::Update(_, sent)) = write else {
        return false;
    };
    let Some(stored) = stored else { return false };
    let mut pairs = sent.content.iter().zip(stored.iter());
    pairs.any(|(sent, stored)| sent.name == stored.name && sent.taints.len() > stored.taints.len())
}
