//! The two transactions of the kubelet's DRA plugin API, free of its wire format.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::resource::v1::ResourceClaim;
use sriov_device_info::claims::ClaimRef;
use sriov_host::{PciAddress, chain, driver};
use sriov_inventory::owners::Owners;
use sriov_inventory::pool::Pools;
use sriov_node::holders::{claims, journal, pod_resources};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::error::{PrepareError, UnprepareError};
use super::leftovers::clear_overrides;
use super::paths::Paths;
use super::plan::{Node, find, plan};
use super::release::release;
use super::{cdi, steps};
use crate::claim::AllocatedClaim;
use crate::state::{ClaimState, SerializeLock};

/// The kubelet normally answers within milliseconds; an older answer is used when it does not.
const KUBELET_DEADLINE: Duration = Duration::from_secs(3);
/// The scan after a driver is bound normally ends within a second.
const NEXT_SCAN: Duration = Duration::from_secs(5);

/// Where claims are read: the API server, or a list in tests.
pub(crate) trait ClaimSource: Send + Sync + 'static {
    /// The claim with this name; absent when there is none.
    fn claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<
        Output = Result<Option<ResourceClaim>, Box<dyn std::error::Error + Send + Sync>>,
    > + Send;
}

/// Receives a claim, a reason in one word and the text, when a claim is not prepared or unprepared.
pub(crate) type Refused = Arc<dyn Fn(&ClaimRef, &'static str, String) + Send + Sync>;

/// A device of a prepared claim, as the kubelet gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreparedDevice {
    pub(crate) request: String,
    pub(crate) pool: String,
    pub(crate) device: String,
    /// Qualified name of its CDI device.
    pub(crate) cdi_name: String,
}

/// Prepares and unprepares the claims of this node.
pub(crate) struct Preparer<S> {
    pub(crate) paths: Paths,
    pub(crate) source: S,
    /// The pools that this driver publishes.
    pub(crate) pools: watch::Receiver<Arc<Pools>>,
    /// Who holds what, as of the last refresh.
    pub(crate) owners: watch::Receiver<Arc<Owners>>,
    /// Reports failures to whoever looks at the claim.
    pub(crate) refused: Refused,
}

impl<S: ClaimSource> Preparer<S> {
    /// Prepares a claim; a repeated call gives the same answer, also while the API server is away.
    ///
    /// # Errors
    /// Nothing of a new claim is left behind, unless the error is [`PrepareError::NotUndone`].
    pub(crate) async fn prepare(
        &self,
        claim: &ClaimRef,
    ) -> Result<Vec<PreparedDevice>, PrepareError> {
        if let Some(prepared) = self.prepare_recorded(&claim.uid).await? {
            return Ok(prepared);
        }
        let object = self.source.claim(&claim.namespace, &claim.name).await;
        let object = object.map_err(PrepareError::Api)?;
        let object = object
            .ok_or_else(|| PrepareError::NoClaim(format!("{}/{}", claim.namespace, claim.name)))?;
        let allocated = self.paths.read_claim(&object, claim)?;
        let owners = self.owners_now().await;
        let (paths, pools) = (self.paths.clone(), self.pools.borrow().clone());
        blocking(move || prepare_new(&paths, &allocated, &pools, owners)).await
    }

    /// Continues or repeats a recorded claim; `None` when there is none.
    ///
    /// A call that was killed may have left a device without a driver. Such a device is in no pool, until the scan after its driver is bound.
    async fn prepare_recorded(
        &self,
        uid: &str,
    ) -> Result<Option<Vec<PreparedDevice>>, PrepareError> {
        let end = Instant::now() + NEXT_SCAN;
        let mut pools = self.pools.clone();
        loop {
            let (paths, uid) = (self.paths.clone(), uid.to_owned());
            let now = pools.borrow_and_update().clone();
            let prepared = blocking(move || prepare_recorded(&paths, &uid, &now)).await;
            let is_missing = matches!(prepared, Err(PrepareError::NoPool { .. }));
            if !is_missing || !matches!(timeout_at(end, pools.changed()).await, Ok(Ok(()))) {
                return prepared;
            }
        }
    }

    /// Unprepares a claim; one that is not prepared is success.
    ///
    /// # Errors
    /// The claim stays recorded, so that the next call goes on.
    pub(crate) async fn unprepare(&self, claim: &ClaimRef) -> Result<(), UnprepareError> {
        let (paths, uid) = (self.paths.clone(), claim.uid.clone());
        let work = move || {
            let _lock = SerializeLock::take(&paths.driver_dir)?;
            match paths.state().read(&uid)? {
                Some(state) => release(&paths, &state),
                // A Prepare that was killed before the rename has left the temporary file.
                None => Ok(paths.state().remove(&uid)?),
            }
        };
        let ended = tokio::task::spawn_blocking(work).await;
        ended.map_err(UnprepareError::Ended)?
    }

    /// Prepares all recorded claims again: a reboot has removed their files, and bound the drivers that the devices had before.
    pub(crate) async fn restore(&self) {
        let (paths, pools) = (self.paths.clone(), self.pools.borrow().clone());
        let _ = tokio::task::spawn_blocking(move || restore_all(&paths, &pools)).await;
    }

    /// The owners with the kubelet's answer of now.
    async fn owners_now(&self) -> Owners {
        let mut owners = Owners::clone(&self.owners.borrow());
        let answer = pod_resources::query(&self.paths.pod_resources, KUBELET_DEADLINE).await;
        if let Err(error) = answer.and_then(|answer| answer.update(&mut owners)) {
            tracing::warn!(
                error = chain(&error),
                "using the previous answer of the kubelet"
            );
        }
        owners
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrepareError> + Send + 'static,
) -> Result<T, PrepareError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(PrepareError::Ended)?
}

/// [`Preparer::prepare_recorded`] with the pools of now.
fn prepare_recorded(
    paths: &Paths,
    uid: &str,
    pools: &Pools,
) -> Result<Option<Vec<PreparedDevice>>, PrepareError> {
    // Most calls are for new claims, and do not wait for others.
    if paths.state().read(uid)?.is_none() {
        return Ok(None);
    }
    let _lock = SerializeLock::take(&paths.driver_dir)?;
    let Some(mut state) = paths.state().read(uid)? else {
        return Ok(None);
    };
    if !state.is_prepared {
        clear_overrides(paths, &state)?;
    }
    steps::prepare(paths, &mut state, pools)?;
    Ok(Some(answer(paths, &state)))
}

fn prepare_new(
    paths: &Paths,
    claim: &AllocatedClaim,
    pools: &Pools,
    mut owners: Owners,
) -> Result<Vec<PreparedDevice>, PrepareError> {
    let _lock = SerializeLock::take(&paths.driver_dir)?;
    // The other instance may have prepared it meanwhile.
    let recorded = paths.state().read(&claim.claim.uid)?;
    let mut state = if let Some(state) = recorded {
        state
    } else {
        owners.claims = claims::claims(&paths.hand_overs())?;
        if let Ok(attachments) = journal::attachments(&paths.host, &paths.cni_dir) {
            owners.attachments = attachments;
        }
        let node = Node {
            name: &paths.node,
            pools,
            owners: &owners,
            drivers: &drivers(paths, claim, pools),
            has_sriovnetwork_names: paths.has_sriovnetwork_names,
        };
        plan(claim, &node).map_err(PrepareError::Refused)?
    };
    if let Err(error) = steps::prepare(paths, &mut state, pools) {
        return Err(undo(paths, &state, error));
    }
    tracing::info!(claim = %format!("{}/{}", state.claim.namespace, state.claim.name), pod = state.pod.name, "prepared");
    Ok(answer(paths, &state))
}

/// The drivers of the devices for which the claim wishes a driver.
fn drivers(
    paths: &Paths,
    claim: &AllocatedClaim,
    pools: &Pools,
) -> BTreeMap<PciAddress, Option<String>> {
    let devices = claim
        .devices
        .iter()
        .filter(|device| device.config.driver.is_some());
    let addresses = devices.filter_map(|device| find(pools, &device.device)?.1.address());
    addresses
        .map(|address| (address, driver::name(&paths.host, address)))
        .collect()
}

/// Undoes a claim that could not be prepared; returns why.
fn undo(paths: &Paths, state: &ClaimState, error: PrepareError) -> PrepareError {
    match release(paths, state) {
        Ok(()) => error,
        Err(undo) => PrepareError::NotUndone {
            undo: chain(&undo),
            source: Box::new(error),
        },
    }
}

fn answer(paths: &Paths, state: &ClaimState) -> Vec<PreparedDevice> {
    let device = |device| PreparedDevice {
        cdi_name: cdi::name(paths, state, device),
        request: device.request.clone(),
        pool: device.pool.clone(),
        device: device.name.clone(),
    };
    state.devices.iter().map(device).collect()
}

fn restore_all(paths: &Paths, pools: &Pools) {
    let all = SerializeLock::take(&paths.driver_dir)
        .and_then(|lock| Ok((lock, paths.state().read_all()?)));
    let (_lock, all) = match all {
        Ok(all) => all,
        Err(error) => {
            tracing::error!(error = chain(&error), "the prepared claims cannot be read");
            return;
        }
    };
    for state in all {
        let mut state = match state {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(error = chain(&error), "skipping the state of a claim");
                continue;
            }
        };
        // An interrupted call is continued by the kubelet's next one, or undone by it.
        if !state.is_prepared {
            continue;
        }
        let claim = format!("{}/{}", state.claim.namespace, state.claim.name);
        if let Err(error) = steps::prepare(paths, &mut state, pools) {
            tracing::warn!(
                claim,
                error = chain(&error),
                "cannot restore the files of the prepared claim"
            );
        }
    }
}

#[cfg(test)]
mod tests;
