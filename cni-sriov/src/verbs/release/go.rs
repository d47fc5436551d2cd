//! Releases an attachment that the Go plugin made.

use sriov_host::netns::Netns;
use sriov_host::sysfs;

use super::reconstruct::reconstruct;
use super::undo::undo;
use crate::device::{DeviceError, driver_of, is_before_boot};
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{GoState, Journal};
use crate::model::SavedAttachmentV1;
use crate::request::Request;
use crate::setup::Setup;

/// Restores the VF as the Go plugin's state describes, and removes that state.
///
/// # Errors
/// What could not be restored or released; the VF is in the journal then, or the state remains.
pub(crate) async fn release_go(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    state: &GoState,
    ipam: &Ipam,
) -> Result<(), Failure> {
    let device = state.device;
    let (container_id, ifname) = (&request.container_id, &request.ifname);
    let _lock = journal.lock(device)?;
    if is_of_another(journal, request, state) {
        // The next pod has the VF: only the state belongs to this attachment.
        ipam.del()?;
        return Ok(journal.remove_go_state(container_id, ifname, None)?);
    }
    match attachment(setup, request, state)? {
        Some(saved) => {
            // A disk that takes no file must not keep the VF in the pod.
            let written = journal.write(&saved);
            undo(setup, journal, &saved, ipam).await?;
            if let Err(error) = written {
                tracing::warn!(%device, %error, "the VF is released without the journal");
            }
        }
        None => ipam.del()?,
    }
    Ok(journal.remove_go_state(container_id, ifname, Some(device))?)
}

/// Whether the VF belongs to another pod now.
fn is_of_another(journal: &Journal, request: &Request, state: &GoState) -> bool {
    let device = state.device;
    let own = request.netns.as_deref().map(Netns::open);
    let own = own.and_then(Result::ok).map(|netns| netns.id());
    let holder = journal.allocated_to(device).map(|holder| holder.id());
    // The Go plugin releases a VF without our journal: an entry that is older than its state is of an attachment that it released.
    let is_saved = journal.read(device).is_ok_and(|saved| saved.is_some());
    (is_saved && journal.is_newer(device, state.modified))
        || holder.is_some_and(|holder| own != Some(holder))
}

/// The attachment that the state describes; `None` after a reboot or when the VF is gone, as nothing is restored onto a new VF.
fn attachment(
    setup: &Setup,
    request: &Request,
    state: &GoState,
) -> Result<Option<SavedAttachmentV1>, DeviceError> {
    let Some(vf) = sysfs::presence(&setup.host, state.device)? else {
        return Ok(None);
    };
    // Times say nothing when the clock was set: a network device that is not on the host is still in the pod.
    let is_away =
        vf.netdevs.is_empty() && driver_of(&vf).is_some_and(|driver| !driver.is_userspace());
    if !is_away && is_before_boot(&setup.host, state.modified) {
        return Ok(None);
    }
    let (wanted, baseline) = (state.wanted.clone(), state.baseline.clone());
    reconstruct(setup, request, state.device, wanted, baseline)
}
