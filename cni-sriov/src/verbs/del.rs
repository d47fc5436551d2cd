//! DEL: finds the attachment of a container under a name, wherever it is recorded, and undoes it under the VF's lock.

use sriov_host::PciAddress;

use super::release::{release_go, release_lost, settle, undo};
use crate::device;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::model::SavedAttachmentV1;
use crate::request::Request;
use crate::setup::Setup;

/// Detaches what the container has under this name; what is gone already is success.
///
/// # Errors
/// What could not be undone stays in the journal, so that another DEL, GC or the next ADD can go on.
pub(crate) async fn del(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
) -> Result<(), Failure> {
    // If the configuration names the VF, its file is tried first: the journal may be long.
    let named = device::address(&request.conf().device).ok();
    if let Some(device) = named
        && let Some(done) = release(setup, journal, request, device).await
    {
        return done;
    }
    if let Some(done) = release_recorded(setup, journal, request).await {
        return done;
    }
    let ipam = Ipam::of(request);
    let state = journal.read_go_state(&request.container_id, &request.ifname);
    match state.filter(|state| state.network == request.conf().name) {
        Some(state) => release_go(setup, journal, request, &state, &ipam).await,
        None => release_lost(setup, journal, request, named, &ipam).await,
    }
}

/// Releases all that the journal has of this attachment; `None` when it has nothing.
async fn release_recorded(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
) -> Option<Result<(), Failure>> {
    let entries = journal.entries().unwrap_or_else(|error| {
        tracing::warn!(%error, "only the VF itself can show whether it is attached");
        Vec::new()
    });
    let mut failures = Vec::new();
    let mut is_known = false;
    for entry in entries {
        let saved = match &entry.saved {
            Ok(saved) if is_meant(request, saved) => saved,
            Ok(_) => continue,
            Err(error) if error.is_later_of(request.key()) == Some(true) => {
                is_known = true;
                failures.extend(entry.saved.err().map(Failure::from));
                continue;
            }
            // The owner of a torn file is unknown; ADD on its VF reports the file.
            Err(error) => {
                tracing::warn!(%error, "skipping a file of the state directory");
                continue;
            }
        };
        let done = if entry.is_owed {
            Some(settle(&entry, &ipam(request, saved)))
        } else {
            release(setup, journal, request, saved.device).await
        };
        is_known |= done.is_some();
        failures.extend(done.and_then(Result::err));
    }
    is_known.then(|| Failure::all(failures))
}

/// Undoes the attachment if it is this one that has the VF; `None` when it is not.
async fn release(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Option<Result<(), Failure>> {
    match journal.read(device) {
        Ok(Some(saved)) if is_meant(request, &saved) => {}
        // What cannot be read is judged under the lock.
        Ok(_) | Err(_) => return None,
    }
    Some(release_locked(setup, journal, request, device).await)
}

async fn release_locked(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Result<(), Failure> {
    let _lock = journal.lock(device)?;
    // Another DEL and ADD may have come first: the owner of the VF is certain only under the lock.
    match journal.read(device)? {
        Some(saved) if is_meant(request, &saved) => {
            undo(setup, journal, &saved, &ipam(request, &saved)).await
        }
        Some(_) | None => Ok(()),
    }
}

fn is_meant(request: &Request, saved: &SavedAttachmentV1) -> bool {
    let [network, container_id, ifname] = request.key();
    saved.is_of(network, container_id, ifname)
}

/// The IPAM call of this DEL; a DEL without IPAM repeats the call of the ADD.
fn ipam(request: &Request, saved: &SavedAttachmentV1) -> Ipam {
    if request.conf().ipam.is_some() {
        Ipam::of(request)
    } else {
        Ipam::of_saved(saved, &request.network.cni_path)
    }
}
