//! The steps that prepare a recorded claim. Each can be done again, so a call that was killed anywhere is continued by the next one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sriov_device_info::Store;
use sriov_device_info::atomic;
use sriov_device_info::claims::{ClaimDevice, PodClaims};
use sriov_host::{PciAddress, driver};
use sriov_inventory::pool::Pools;
use sriov_node::grant::claim::{ClaimShare, Wishes, look};
use sriov_node::grant::share::DeviceNode;

use super::error::PrepareError;
use super::leftovers::remove_leftovers;
use super::paths::Paths;
use super::{cdi, metadata, plan};
use crate::state::{ClaimState, DeviceState, ShareState};

/// Prepares a claim, or continues: state, hand-over, drivers, a look at the devices, files.
///
/// # Errors
/// The state stays on disk, so that the caller undoes what was done, or the next call goes on.
pub(super) fn prepare(
    paths: &Paths,
    state: &mut ClaimState,
    pools: &Pools,
) -> Result<(), PrepareError> {
    // The record comes before the first change, and the hand-over is the guard against the other front end.
    paths.state().write(state)?;
    hand_over(paths, state)?;
    for device in &state.devices {
        bind(paths, device)?;
    }
    for device in &mut state.devices {
        look_at(paths, device, pools)?;
    }
    write_files(paths, state)?;
    state.is_prepared = true;
    paths.state().write(state)?;
    Ok(())
}

/// Adds the devices of a claim to the hand-over file of its pod.
fn hand_over(paths: &Paths, state: &ClaimState) -> Result<(), PrepareError> {
    let store = paths.hand_overs();
    let mut claims = store.read(&state.pod.uid)?.unwrap_or_else(|| PodClaims {
        driver: paths.driver.to_string(),
        pod: state.pod.clone(),
        devices: Vec::new(),
    });
    claims
        .devices
        .retain(|device| device.claim.uid != state.claim.uid);
    let devices = state.devices.iter();
    claims
        .devices
        .extend(devices.filter_map(|device| handed_over(paths, state, device)));
    Ok(store.write(&claims)?)
}

/// A device as the CNI plugin finds it; a subfunction is not attached by the CNI plugin.
fn handed_over(paths: &Paths, state: &ClaimState, device: &DeviceState) -> Option<ClaimDevice> {
    Some(ClaimDevice {
        claim: state.claim.clone(),
        request: device.request.clone(),
        pool: device.pool.clone(),
        device: device.name.clone(),
        pci_address: device.id.parse().ok()?,
        resource: device.resource.clone(),
        network: device.network.clone(),
        ifname: device.ifname.clone(),
        metadata: Some(paths.metadata_file(&state.claim, &device.request)),
        rebound: device.rebound.clone(),
    })
}

/// Binds the driver that the claim wishes.
fn bind(paths: &Paths, device: &DeviceState) -> Result<(), PrepareError> {
    let (Some(rebound), Ok(address)) = (&device.rebound, device.id.parse::<PciAddress>()) else {
        return Ok(());
    };
    let now = driver::name(&paths.host, address);
    if now.as_ref() == Some(&rebound.bound) {
        return Ok(());
    }
    driver::unbind(&paths.host, address)?;
    driver::bind(&paths.host, address, &rebound.bound)?;
    tracing::info!(device = %address, was = now.as_deref().unwrap_or("none"), driver = rebound.bound, "the claim's driver is bound");
    Ok(())
}

/// Looks at a device, and records what a container gets for it.
fn look_at(paths: &Paths, device: &mut DeviceState, pools: &Pools) -> Result<(), PrepareError> {
    let rebound = device.rebound.as_ref();
    let wishes = Wishes {
        driver: rebound.map(|rebound| rebound.bound.as_str()),
        vhost_net: device.vhost_net,
    };
    let Some((pool, in_pool)) = plan::device(pools, &device.resource, &device.id) else {
        // The configuration has changed since the claim was prepared: the pod keeps what it got.
        return if device.share == ShareState::default() {
            Err(PrepareError::NoPool {
                device: device.name.clone(),
            })
        } else {
            Ok(())
        };
    };
    let ClaimShare { share, info } = look(&paths.host, pool, in_pool, wishes)?;
    device.share = ShareState {
        providers: share.providers,
        nodes: share
            .nodes
            .into_iter()
            .map(|DeviceNode { host, container }| (host, container))
            .collect(),
        info,
    };
    Ok(())
}

/// Writes the files that containers, runtimes and CNI plugins read.
fn write_files(paths: &Paths, state: &ClaimState) -> Result<(), PrepareError> {
    remove_leftovers(&replaced_files(paths, state));
    for device in &state.devices {
        if let Some(info) = &device.share.info {
            Store::write(&info_path(paths, device), info)?;
        }
    }
    for request in requests(state) {
        let path = paths.metadata_file(&state.claim, request);
        // The CNI plugin may have added the network data already.
        let is_written = fs::read_to_string(&path).is_ok_and(|text| !text.is_empty());
        if !is_written {
            let text = metadata::content(&paths.driver, state, request);
            write(&path, &text, 0o644)?;
        }
    }
    let specification = cdi::specification(paths, state).to_string();
    write(&paths.specification(&state.claim), &specification, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), PrepareError> {
    atomic::replace(path, text.as_bytes(), mode).map_err(|source| PrepareError::Write {
        path: path.to_owned(),
        source,
    })
}

/// All files of [`write_files`].
pub(super) fn replaced_files(paths: &Paths, state: &ClaimState) -> Vec<PathBuf> {
    let infos = state.devices.iter().map(|device| info_path(paths, device));
    let requests = requests(state).into_iter();
    let metadata = requests.map(|request| paths.metadata_file(&state.claim, request));
    let specification = paths.specification(&state.claim);
    infos.chain(metadata).chain([specification]).collect()
}

/// The device-info file of a device.
pub(super) fn info_path(paths: &Paths, device: &DeviceState) -> PathBuf {
    paths
        .device_infos
        .path_of_device(&device.resource, &device.id)
}

/// The requests of a claim, each once.
fn requests(state: &ClaimState) -> BTreeSet<&str> {
    state
        .devices
        .iter()
        .map(|device| device.request.as_str())
        .collect()
}
