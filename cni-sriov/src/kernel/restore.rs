//! Restores a VF to its baseline, and reads it back: from the saved attachment alone, as `plan::restore` decides.

mod leave_pod;
mod netdev;
mod settings;

use sriov_host::netlink::Netlink;
use sriov_host::sysfs::{self, Presence};

use self::netdev::restore_netdev;
use self::settings::SettingsRestore;
use super::error::KernelError;
use super::rebind::rebind;
use crate::device::{driver_of, is_unchanged_device};
use crate::model::SavedAttachmentV1;
use crate::plan::restore::LinkRestore;
use crate::setup::Setup;

/// Attempts to restore what a driver accepted and then reports otherwise.
const TRIES: u32 = 3;

/// Restores the VF of an attachment; does all it can.
///
/// A driver may lose what it accepted. igbvf does: once its PF was too slow to answer, its mailbox is dead,
/// and every later message is lost without an error, until the driver resets the VF (drivers/net/ethernet/intel/igbvf/mbx.c,
/// `e1000_poll_for_ack`); setting the network device up and down does that.
///
/// # Errors
/// All that could not be restored.
pub(crate) async fn restore(
    setup: &Setup,
    saved: &SavedAttachmentV1,
) -> Result<(), Vec<KernelError>> {
    let mut tries = 1;
    loop {
        let errors = try_restore(setup, saved, tries > 1).await;
        match errors.as_slice() {
            [] => return Ok(()),
            [error @ KernelError::Dirty { .. }] if tries < TRIES => {
                tracing::warn!(%error, "restoring the VF again");
                tries += 1;
            }
            [..] => return Err(errors),
        }
    }
}

async fn try_restore(setup: &Setup, saved: &SavedAttachmentV1, resets: bool) -> Vec<KernelError> {
    match open(setup, saved) {
        Ok(Some((vf, host))) => restore_present(setup, saved, &vf, &host, resets).await,
        // A VF that is gone has no settings, and a VF after a reboot or a new creation has its driver's.
        Ok(None) => Vec::new(),
        Err(error) => vec![error],
    }
}

/// The VF and a netlink socket, if it is still the device that was attached.
fn open(
    setup: &Setup,
    saved: &SavedAttachmentV1,
) -> Result<Option<(Presence, Netlink)>, KernelError> {
    if !is_unchanged_device(&setup.host, saved)? {
        return Ok(None);
    }
    let Some(vf) = sysfs::presence(&setup.host, saved.device)? else {
        return Ok(None);
    };
    Ok(Some((vf, setup.host_netlink()?)))
}

async fn restore_present(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    vf: &Presence,
    host: &Netlink,
    resets: bool,
) -> Vec<KernelError> {
    let mut errors = Vec::new();
    // The network device leaves the pod even when the PF cannot be read.
    let settings = match SettingsRestore::observe(setup, saved, host).await {
        Ok(settings) => settings,
        Err(error) => {
            errors.push(error);
            SettingsRestore::default()
        }
    };
    let plan = settings.plan();
    errors.extend(settings.set(host, &plan.before_link).await);
    let has_netdev = has_netdev(vf);
    if plan.rebinds && has_netdev {
        errors.extend(rebind(&setup.host, saved.device).err());
    }
    if let (Some(was), true) = (&saved.baseline.link, has_netdev) {
        let how = LinkRestore {
            is_unpinned: plan.unpins,
            resets: resets && plan.unpins,
        };
        let restored = restore_netdev(setup, saved, host, was, how).await;
        errors.extend(restored.err());
    }
    errors.extend(settings.set(host, &plan.after_link).await);
    if errors.is_empty() {
        errors.extend(settings.verify(saved, host).await.err());
    }
    errors
}

/// Whether the VF has a driver that creates a network device, wherever that device is.
fn has_netdev(vf: &Presence) -> bool {
    !vf.netdevs.is_empty() || driver_of(vf).is_some_and(|driver| !driver.is_userspace())
}
