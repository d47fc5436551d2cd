//! What an ADD finds on its VF: an attachment that exists is in the way, one that died is undone.

use sriov_host::PciAddress;
use sriov_host::vf::VfChange;

use super::undo::undo;
use crate::device::{DeviceError, is_unchanged_device, unchanged_netns};
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Journal, JournalError};
use crate::kernel::KernelError;
use crate::model::{Phase, SavedAttachmentV1};
use crate::request::Request;
use crate::setup::Setup;

/// Undoes an attachment of the VF that died, in the middle or with its pod.
///
/// # Errors
/// [`JournalError::Busy`] or [`JournalError::BusyElsewhere`] when the VF has an attachment that exists, or what could not be undone.
pub(crate) async fn release_leftovers(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
) -> Result<(), Failure> {
    let Some(saved) = journal.read(device)? else {
        return Ok(journal.ensure_not_of_go(device)?);
    };
    if exists(setup, &saved)? {
        let SavedAttachmentV1 {
            container_id,
            ifname,
            ..
        } = saved;
        return Err(Failure::from(JournalError::Busy {
            device,
            container_id,
            ifname,
        }));
    }
    tracing::warn!(%device, container = saved.container_id, "undoing an attachment that died");
    let ipam = Ipam::of_saved(&saved, &request.network.cni_path);
    match undo(setup, journal, &saved, &ipam).await {
        Ok(()) => {
            ensure_restored(journal, device)?;
            // The undone attachment may have been old: the Go plugin may have given the VF to another pod since.
            journal.ensure_not_of_go(device)?;
        }
        Err(failure) => owe_addresses(journal, device, failure)?,
    }
    Ok(())
}

/// Whether an attachment is complete, and both its VF and its pod still exist.
pub(in crate::verbs) fn exists(
    setup: &Setup,
    saved: &SavedAttachmentV1,
) -> Result<bool, DeviceError> {
    if saved.phase != Phase::Attached || !is_unchanged_device(&setup.host, saved)? {
        return Ok(false);
    }
    Ok(unchanged_netns(&saved.netns).is_some())
}

/// A pod must not get a VF with a setting of another pod.
fn ensure_restored(journal: &Journal, device: PciAddress) -> Result<(), Failure> {
    match journal.read(device)? {
        Some(SavedAttachmentV1 { postponed, pf, .. }) if !postponed.is_empty() => {
            let settings: Vec<&str> = postponed.iter().map(VfChange::setting).collect();
            Err(Failure::from(KernelError::Postponed {
                device,
                pf,
                settings: settings.join(", "),
            }))
        }
        Some(_) | None => Ok(()),
    }
}

/// The VF is free when it is restored, even if its addresses cannot be released now: GC and DEL release them later.
fn owe_addresses(journal: &Journal, device: PciAddress, failure: Failure) -> Result<(), Failure> {
    match journal.read(device)? {
        Some(saved) if saved.phase == Phase::Released && saved.postponed.is_empty() => {
            tracing::warn!(%device, error = failure.chain(), "the addresses are not released yet");
            Ok(journal.owe(&saved)?)
        }
        Some(_) | None => Err(failure),
    }
}
