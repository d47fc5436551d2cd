//! Removes what a call that was killed left: temporary files, whose names no later write has, and `driver_override`.

use std::path::PathBuf;

use sriov_device_info::atomic;
use sriov_host::driver::{self, DriverError};
use sriov_host::{PciAddress, chain};

use super::paths::Paths;
use crate::state::ClaimState;

/// Removes the temporary files that killed calls of [`atomic::replace`] left for these files.
/// The call logs a file that it cannot remove, and continues: no program reads such a file.
///
/// The caller has the lock, so neither a call nor the upkeep of device-info files writes one of the files.
pub(super) fn remove_leftovers(files: &[PathBuf]) {
    for path in atomic::leftovers(files) {
        match atomic::remove(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "removed the temporary file of a call that was killed");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error = chain(&error), "cannot remove the temporary file");
            }
        }
    }
}

/// Clears the `driver_override` with which a Prepare that was killed was about to bind the drivers of its claim.
///
/// # Errors
/// [`DriverError::Override`]: the file could not be written.
pub(super) fn clear_overrides(paths: &Paths, state: &ClaimState) -> Result<(), DriverError> {
    for device in &state.devices {
        let (Some(rebound), Ok(address)) = (&device.rebound, device.id.parse::<PciAddress>())
        else {
            continue;
        };
        if driver::clear_override(&paths.host, address, &rebound.bound)? {
            tracing::info!(device = %address, driver = rebound.bound, "cleared the driver override of a call that was killed");
        }
    }
    Ok(())
}
