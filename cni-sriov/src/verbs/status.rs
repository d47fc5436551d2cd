//! STATUS: whether ADD could work here; VFs that are held back are restored on the occasion.

use super::release::undo;
use crate::device::ensure_sysfs;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::kernel::ensure_privileges;
use crate::model::Phase;
use crate::request::NetworkRequest;
use crate::setup::Setup;

/// Reports all reasons why an ADD would fail.
///
/// # Errors
/// [`Failure::NotReady`], or the error of IPAM.
pub(crate) async fn status(
    setup: &Setup,
    journal: &Journal,
    request: &NetworkRequest,
) -> Result<(), Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    failures.extend(journal.probe().err().map(Failure::from));
    failures.extend(ensure_privileges(setup).await.err().map(Failure::from));
    failures.extend(ensure_sysfs(&setup.host).err().map(Failure::from));
    if failures.is_empty() {
        failures.extend(heal(setup, journal, request).await.err());
    }
    let ipam = Ipam::of_network(request);
    failures.extend(ipam.ensure_there().err().map(Failure::from));
    Failure::all(failures).map_err(|failure| Failure::NotReady(Box::new(failure)))?;
    // Code and message of IPAM stay as they are: the specification forwards them.
    Ok(ipam.status()?)
}

/// A VF that could not be restored before may be restorable now.
async fn heal(setup: &Setup, journal: &Journal, request: &NetworkRequest) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for entry in journal.entries()? {
        let Ok(saved) = entry.saved else { continue };
        if entry.is_owed || saved.phase != Phase::Dirty {
            continue;
        }
        let _lock = journal.lock(saved.device)?;
        match journal.read(saved.device)? {
            Some(saved) if saved.phase == Phase::Dirty => {
                let ipam = Ipam::of_saved(&saved, &request.cni_path);
                failures.extend(undo(setup, journal, &saved, &ipam).await.err());
            }
            Some(_) | None => {}
        }
    }
    Failure::all(failures)
}
