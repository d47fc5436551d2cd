//! Restores a VF to its baseline, and reads it back: from the saved attachment alone, as `plan::restore` decides.

mod leave_pod;
mod netdev;
mod pf_settings;

use sriov_host::driver;
use sriov_host::netlink::Netlink;
use sriov_host::sysfs::{self, Presence};
use sriov_host::vf::VfChange;

use self::netdev::Netdev;
use self::pf_settings::SettingsRestore;
use super::error::KernelError;
use crate::device::{driver_of, is_unchanged_device};
use crate::model::{Phase, SavedAttachmentV1};
use crate::plan::restore::LinkRestore;
use crate::setup::Setup;

/// Attempts to restore what a driver accepted and then reports otherwise.
const TRIES: u32 = 3;

/// How far an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    /// As far as necessary to restore the network device.
    Changes,
    /// The driver resets the VF first.
    Reset,
    /// The driver of the VF is restarted first.
    Restart,
}

/// What an attempt did not restore.
#[derive(Debug, Default)]
struct Remains {
    errors: Vec<KernelError>,
    postponed: Vec<VfChange>,
}

/// Restores the VF of an attachment; does all it can. Returns the settings that must wait until the PF has a link.
///
/// A driver may lose what it accepted. igbvf does: once its PF was too slow to answer, its mailbox is dead,
/// and every later message is lost without an error, until the driver resets the VF (drivers/net/ethernet/intel/igbvf/mbx.c,
/// `e1000_poll_for_ack`); setting the network device up and down does that. The last attempt restarts the driver.
///
/// # Errors
/// All that could not be restored.
pub(crate) async fn restore(
    setup: &Setup,
    saved: &SavedAttachmentV1,
) -> Result<Vec<VfChange>, Vec<KernelError>> {
    if saved.phase == Phase::Released {
        return restore_postponed(setup, saved).await;
    }
    let mut tries = 1;
    loop {
        let force = match tries {
            1 => Force::Changes,
            TRIES => Force::Restart,
            _ => Force::Reset,
        };
        let Remains { errors, postponed } = try_restore(setup, saved, force).await;
        match errors.as_slice() {
            [] => return Ok(postponed),
            [error @ KernelError::Dirty { .. }] if tries < TRIES => {
                tracing::warn!(%error, "restoring the VF again");
                tries += 1;
            }
            [..] => return Err(errors),
        }
    }
}

/// Restores the settings that an earlier call postponed; the VF is free, so that nothing else is touched.
async fn restore_postponed(
    setup: &Setup,
    saved: &SavedAttachmentV1,
) -> Result<Vec<VfChange>, Vec<KernelError>> {
    if saved.postponed.is_empty() {
        return Ok(Vec::new());
    }
    let restored = match open(setup, saved) {
        Ok(Some((_, host))) => SettingsRestore::of_postponed(setup, saved, &host).await,
        Ok(None) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    restored.map_err(|error| vec![error])
}

async fn try_restore(setup: &Setup, saved: &SavedAttachmentV1, force: Force) -> Remains {
    match open(setup, saved) {
        Ok(Some((vf, host))) => restore_present(setup, saved, &vf, &host, force).await,
        // A VF that is gone has no settings, and a VF after a reboot or a new creation has its driver's.
        Ok(None) => Remains::default(),
        Err(error) => Remains {
            errors: vec![error],
            postponed: Vec::new(),
        },
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
    let Some(mut vf) = sysfs::presence(&setup.host, saved.device)? else {
        return Ok(None);
    };
    // An earlier call died between the two halves of a restart, or the driver could not be bound then.
    if let (None, Some(driver)) = (&vf.driver, &saved.baseline.driver) {
        tracing::warn!(device = %saved.device, driver, "binding the VF to its driver again");
        driver::bind(&setup.host, saved.device, driver)?;
        vf.driver = Some(driver.clone());
    }
    Ok(Some((vf, setup.host_netlink()?)))
}

async fn restore_present(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    vf: &Presence,
    host: &Netlink,
    force: Force,
) -> Remains {
    let mut errors = Vec::new();
    // The network device leaves the pod even when the PF cannot be read.
    let mut settings = match SettingsRestore::observe(setup, saved, host).await {
        Ok(settings) => settings,
        Err(error) => {
            errors.push(error);
            SettingsRestore::default()
        }
    };
    let plan = settings.plan().clone();
    errors.extend(settings.set(host, &plan.before_link).await);
    let has_netdev = has_netdev(vf);
    if plan.rebinds && has_netdev {
        errors.extend(restart(setup, saved).err());
    }
    if let (Some(was), true) = (&saved.baseline.link, has_netdev) {
        let netdev = Netdev {
            setup,
            saved,
            host,
            was,
        };
        let how = LinkRestore {
            is_unpinned: plan.unpins,
            resets: force == Force::Reset && plan.unpins,
        };
        let restored = match force {
            Force::Changes | Force::Reset => netdev.restore(how).await,
            Force::Restart => netdev.restore_restarted(how, "its settings are lost").await,
        };
        errors.extend(restored.err());
    } else if force == Force::Restart && driver_of(vf).is_some_and(|driver| driver.is_uio()) {
        errors.extend(restart(setup, saved).err());
    }
    errors.extend(settings.set(host, &plan.after_link).await);
    if errors.is_empty() {
        errors.extend(settings.verify(saved, host).await.err());
    }
    Remains {
        errors,
        postponed: settings.postponed(),
    }
}

fn restart(setup: &Setup, saved: &SavedAttachmentV1) -> Result<(), KernelError> {
    driver::restart(&setup.host, saved.device)?;
    Ok(())
}

/// Whether the VF has a driver that creates a network device, wherever that device is.
fn has_netdev(vf: &Presence) -> bool {
    !vf.netdevs.is_empty() || driver_of(vf).is_some_and(|driver| !driver.is_userspace())
}

#[cfg(test)]
mod tests;
