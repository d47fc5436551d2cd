//! DEL: finds what the container has under a name, wherever that is written, and undoes it under the VF's lock.

use sriov_host::PciAddress;

use crate::Setup;
use crate::device;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Entry, Journal, JournalError};
use crate::recover;
use crate::request::Request;
use crate::saved::SavedAttachmentV1;
use crate::undo;

/// Detaches what the container has under this name; what is gone already is success.
///
/// # Errors
/// What could not be undone stays in the journal, so that another DEL, GC or the next ADD can go on.
pub async fn del(setup: &Setup, journal: &Journal, request: &Request) -> Result<(), Failure> {
    // Where the configuration names the VF, its file is tried first: the journal may be long.
    let named = device::address(&request.conf().device).ok();
    if let Some(device) = named
        && let Some(done) = release(setup, journal, request, device).await
    {
        return done;
    }
    let mut failures = Vec::new();
    let mut is_known = false;
    for entry in journal.entries()? {
        // A file that cannot be read is not this attachment's as far as anybody can tell; ADD on its VF says so.
        let Ok(saved) = &entry.saved else { continue };
        if !is_meant(request, saved) {
            continue;
        }
        let done = if entry.is_owed {
            Some(settle(journal, &entry, &ipam(request, saved)))
        } else {
            release(setup, journal, request, saved.device).await
        };
        is_known |= done.is_some();
        failures.extend(done.and_then(Result::err));
    }
    if is_known {
        return Failure::all(failures);
    }
    recover::del(setup, journal, request, named).await
}

/// Undoes the attachment if it is this one that holds the VF; nothing when it is not.
async fn release(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Option<Result<(), Failure>> {
    match journal.read(device) {
        Ok(Some(saved)) if is_meant(request, &saved) => {}
        Ok(_) | Err(JournalError::Content { .. }) => return None,
        Err(error) => return Some(Err(Failure::Journal(error))),
    }
    let _lock = match journal.lock(device) {
        Ok(lock) => lock,
        Err(failure) => return Some(Err(failure)),
    };
    // Only now is it certain whose it is: another DEL and ADD may have come first.
    match journal.read(device) {
        Ok(Some(saved)) if is_meant(request, &saved) => {
            Some(undo::undo(setup, journal, &saved, &ipam(request, &saved)).await)
        }
        Ok(_) => Some(Ok(())),
        Err(error) => Some(Err(Failure::Journal(error))),
    }
}

/// Gives back addresses whose VF is free already.
pub fn settle(journal: &Journal, entry: &Entry, ipam: &Ipam) -> Result<(), Failure> {
    ipam.del().map_err(Failure::Ipam)?;
    journal.settle(entry)
}

fn is_meant(request: &Request, saved: &SavedAttachmentV1) -> bool {
    saved.is_of(
        &request.conf().name,
        &request.container_id,
        request.ifname.as_str(),
    )
}

/// As this DEL asks for, or as the ADD did when this one says nothing of it.
fn ipam(request: &Request, saved: &SavedAttachmentV1) -> Ipam {
    if request.conf().ipam.is_some() {
        Ipam::of(request)
    } else {
        Ipam::of_saved(saved, &request.network.cni_path)
    }
}
