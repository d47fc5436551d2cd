//! The one undo of an attachment: restores the VF, releases the addresses, forgets the attachment. It works from the journal alone.

use sriov_host::driver;

use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Entry, Journal};
use crate::kernel::restore;
use crate::model::{Phase, SavedAttachmentV1};
use crate::setup::Setup;

/// Restores a VF, releases its addresses and forgets the attachment; does all it can and returns what it could not do.
///
/// A VF that the Go plugin has given to another pod is not touched. The caller has the lock of the VF.
///
/// # Errors
/// The attachment stays in the journal: as dirty when the VF is not restored, otherwise as released.
/// It also stays, without an error, while a setting waits for a link of the PF: the next attachment restores the setting before it begins.
pub(crate) async fn undo(
    setup: &Setup,
    journal: &Journal,
    saved: &SavedAttachmentV1,
    ipam: &Ipam,
) -> Result<(), Failure> {
    if journal.is_passed_on(saved)? {
        ipam.del()?;
        return Ok(journal.forget(saved)?);
    }
    let saved = &with_driver(setup, journal, saved);
    let mut failures: Vec<Failure> = Vec::new();
    let mut now = SavedAttachmentV1 {
        phase: Phase::Released,
        postponed: Vec::new(),
        ..saved.clone()
    };
    // No other pod may get an address before the VF has left this one.
    let deleting = ipam.prepare_del();
    match restore(setup, saved).await {
        Ok(postponed) => now.postponed = postponed,
        Err(errors) => {
            failures.extend(errors.into_iter().map(Failure::from));
            now.phase = Phase::Dirty;
        }
    }
    failures.extend(deleting.finish().err().map(Failure::from));
    if failures.is_empty() {
        if now.postponed.is_empty() {
            return Ok(journal.remove(saved)?);
        }
        now.ipam = None;
        journal.remove_go_state(&now.container_id, &now.ifname, Some(now.device))?;
    }
    if now != *saved {
        failures.extend(journal.write(&now).err().map(Failure::from));
    }
    Failure::all(failures)
}

/// The attachment with the driver of its VF, which files of earlier versions do not name.
///
/// It must be on disk before a restart of the driver: a call that dies between the two halves leaves a VF without driver,
/// and the next call binds the driver that is saved.
fn with_driver(setup: &Setup, journal: &Journal, saved: &SavedAttachmentV1) -> SavedAttachmentV1 {
    let mut saved = saved.clone();
    if saved.baseline.driver.is_none() && saved.phase != Phase::Released {
        saved.baseline.driver = driver::name(&setup.host, saved.device);
        let written = saved
            .baseline
            .driver
            .as_ref()
            .map(|_| journal.write(&saved));
        if let Some(Err(error)) = written {
            tracing::warn!(%error, "the driver of the VF is not saved");
        }
    }
    saved
}

/// Releases addresses whose VF is free already.
///
/// # Errors
/// The entry stays then.
pub(crate) fn settle(entry: &Entry, ipam: &Ipam) -> Result<(), Failure> {
    ipam.del()?;
    Ok(entry.settle()?)
}
