//! STATUS: whether ADD could work here; VFs that are held back are restored on the occasion.

use sriov_config::NetConf;
use sriov_host::{PciAddress, chain};

use super::release::undo;
use crate::device::ensure_sysfs;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::kernel::ensure_privileges;
use crate::request::{NetworkRequest, RequestError};
use crate::setup::Setup;

/// Reports all reasons why every ADD would fail; a VF that is held back is none, because other VFs can be attached.
///
/// # Errors
/// [`Failure::NotReady`], or the error of IPAM.
pub(crate) async fn status(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
) -> Result<(), Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    // ADD refuses what other verbs overlook.
    let conf = NetConf::parse(&request.stdin, None).map_err(RequestError::from);
    failures.extend(conf.err().map(Failure::from));
    failures.extend(journal.probe().err().map(Failure::from));
    failures.extend(ensure_privileges(setup).await.err().map(Failure::from));
    failures.extend(ensure_sysfs(&setup.host).err().map(Failure::from));
    if failures.is_empty() {
        heal(setup, journal, request).await;
    }
    let ipam = Ipam::of_network(request);
    failures.extend(ipam.ensure_there().err().map(Failure::from));
    Failure::all(failures).map_err(|failure| Failure::NotReady(Box::new(failure)))?;
    // Code and message of IPAM stay as they are: the specification forwards them.
    Ok(ipam.status()?)
}

/// Restores VFs that could not be restored before; logs those that are still held back.
///
/// The device plugin reports them as unhealthy, from the same journal.
async fn heal(setup: &Setup, journal: &Journal, request: &NetworkRequest) {
    let entries = match journal.entries() {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the journal cannot be read");
            return;
        }
    };
    for entry in entries {
        let Ok(saved) = entry.saved else { continue };
        if entry.is_owed || !saved.is_unrestored() {
            continue;
        }
        let device = saved.device;
        if let Err(failure) = heal_vf(setup, journal, request, device).await {
            tracing::warn!(%device, error = failure.chain(), "the VF is held back");
        }
    }
}

/// A VF on which another call works is left to that call.
async fn heal_vf(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
    device: PciAddress,
) -> Result<(), Failure> {
    let _lock = journal.lock_now(device)?;
    match journal.read(device)? {
        Some(saved) if saved.is_unrestored() => {
            let ipam = Ipam::of_saved(&saved, &request.cni_path);
            undo(setup, journal, &saved, &ipam).await
        }
        Some(_) | None => Ok(()),
    }
}
