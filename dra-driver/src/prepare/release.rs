//! Undoes a claim: detaches what the CNI plugin left, binds the drivers back, removes the files, and forgets the claim last.
//!
//! Each step can be done again, as in [`super::steps`].

use std::fs;
use std::io;

use sriov_device_info::{Store, atomic};
use sriov_host::sysfs;
use sriov_host::{PciAddress, chain, driver};

use super::cni::ensure_clean;
use super::error::UnprepareError;
use super::leftovers::{clear_overrides, remove_leftovers};
use super::paths::Paths;
use super::steps::{info_path, replaced_files};
use crate::state::{ClaimState, DeviceState};

/// Undoes a claim; what cannot be undone stays recorded, with all its guards.
///
/// # Errors
/// All devices that are not clean, with the reason.
pub(super) fn release(paths: &Paths, state: &ClaimState) -> Result<(), UnprepareError> {
    if !state.is_prepared {
        clear_overrides(paths, state)?;
    }
    let mut failures = Vec::new();
    for device in &state.devices {
        failures.extend(restore(paths, device).err());
    }
    match failures.len() {
        0 => {}
        1 => return failures.pop().map_or(Ok(()), Err),
        _ => {
            return Err(UnprepareError::Several(
                failures.iter().map(|error| chain(error)).collect(),
            ));
        }
    }
    remove_files(paths, state)?;
    take_back(paths, state)?;
    Ok(paths.state().remove(&state.claim.uid)?)
}

/// Detaches a device and binds its own driver back.
fn restore(paths: &Paths, device: &DeviceState) -> Result<(), UnprepareError> {
    // The CNI plugin attaches PCI functions only, and only they have a driver that a claim replaces.
    let Ok(address) = device.id.parse::<PciAddress>() else {
        return Ok(());
    };
    ensure_clean(paths, address)?;
    let Some(rebound) = &device.rebound else {
        return Ok(());
    };
    let is_gone = !sysfs::device_path(&paths.host, address).exists();
    let now = driver::name(&paths.host, address);
    // A third driver is somebody else's decision.
    let is_ours = now.is_none() || now.as_ref() == Some(&rebound.bound);
    if is_gone || !is_ours {
        return Ok(());
    }
    driver::unbind(&paths.host, address)?;
    if let Some(own) = &rebound.own {
        driver::bind(&paths.host, address, own)?;
        tracing::info!(device = %address, driver = own, "the device's own driver is bound again");
    }
    Ok(())
}

fn remove_files(paths: &Paths, state: &ClaimState) -> Result<(), UnprepareError> {
    let specification = paths.specification(&state.claim);
    let removed = atomic::remove(&specification);
    removed.map_err(|source| UnprepareError::Remove {
        path: specification,
        source,
    })?;
    for device in &state.devices {
        Store::remove(&info_path(paths, device))?;
    }
    remove_leftovers(&replaced_files(paths, state));
    let metadata = paths.metadata_dir(&state.claim);
    match fs::remove_dir_all(&metadata) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(UnprepareError::Remove {
            path: metadata,
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the devices of a claim from the hand-over file of its pod.
fn take_back(paths: &Paths, state: &ClaimState) -> Result<(), UnprepareError> {
    let store = paths.hand_overs();
    let Some(mut claims) = store.read(&state.pod.uid)? else {
        // A Prepare that was killed before the rename has left the temporary file.
        return Ok(store.remove(&state.pod.uid)?);
    };
    claims
        .devices
        .retain(|device| device.claim.uid != state.claim.uid);
    if claims.devices.is_empty() {
        return Ok(store.remove(&state.pod.uid)?);
    }
    Ok(store.write(&claims)?)
}
