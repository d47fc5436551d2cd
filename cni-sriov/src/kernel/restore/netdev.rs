//! The network device: brought back to the host from wherever it is, restored, and read back.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::{IfName, PciAddress, sysfs};

use super::leave_pod::leave_pod;
use crate::kernel::error::KernelError;
use crate::model::{SavedAttachmentV1, SavedLink, claim_to, spare_name};
use crate::plan::restore::{LinkRestore, link_changes, link_difference};
use crate::setup::Setup;

/// Time in which the kernel returns the network device of a deleted network namespace.
const RETURN: Duration = Duration::from_secs(10);
/// Time between two readings.
const RETURN_STEP: Duration = Duration::from_millis(10);

/// Finds the network device, moves it to the host, restores it, and reads it back.
///
/// # Errors
/// [`KernelError::Dirty`] when it was restored and is not as it was, [`KernelError::NoLink`], or a refused change.
pub(super) async fn restore_netdev(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    host: &Netlink,
    was: &SavedLink,
    how: LinkRestore,
) -> Result<(), KernelError> {
    let device = saved.device;
    if sysfs::netdev_index(&setup.host, device)?.is_none() {
        leave_pod(setup, saved, &was.name).await?;
    }
    let index = await_return(setup, device).await?;
    let link = read(host, device, index).await?;
    let changes = link_changes(&link, was, how);
    if changes.is_empty() {
        return Ok(());
    }
    for change in &changes {
        apply(host, &link, device, change).await?;
    }
    match link_difference(&read(host, device, index).await?, was) {
        None => Ok(()),
        Some(what) => Err(KernelError::Dirty { device, what }),
    }
}

/// Waits for the network device on the host: when a network namespace is deleted, the kernel returns its devices only after some time.
async fn await_return(setup: &Setup, device: PciAddress) -> Result<u32, KernelError> {
    let deadline = Instant::now() + RETURN;
    loop {
        if let Some(index) = sysfs::netdev_index(&setup.host, device)? {
            return Ok(index);
        }
        if Instant::now() > deadline {
            return Err(KernelError::NoLink(device));
        }
        tokio::time::sleep(RETURN_STEP).await;
    }
}

async fn read(host: &Netlink, device: PciAddress, index: u32) -> Result<Link, KernelError> {
    let link = host.link(index).await;
    link.map_err(|source| KernelError::Link { device, source })?
        .ok_or(KernelError::NoLink(device))
}

async fn apply(
    host: &Netlink,
    link: &Link,
    device: PciAddress,
    change: &LinkChange,
) -> Result<(), KernelError> {
    match (change, host.set_link(link.index, change).await) {
        (LinkChange::Name(name), Err(error)) if is_taken(&error) => {
            claim_name(host, link, device, name).await
        }
        // Another device took the alternative name in the meantime, or udev added it first.
        (LinkChange::AddAltName(name), Err(error)) if is_taken(&error) => {
            tracing::warn!(%device, %name, "the alternative name belongs to another device now");
            Ok(())
        }
        (_, done) => done.map_err(|source| KernelError::Link { device, source }),
    }
}

/// The name belongs to another device: this one gets a spare name, and keeps a claim to its own.
async fn claim_name(
    host: &Netlink,
    link: &Link,
    device: PciAddress,
    name: &IfName,
) -> Result<(), KernelError> {
    tracing::warn!(%device, %name, "the name is taken, the VF keeps a claim to it");
    let mut changes = vec![LinkChange::AddAltName(claim_to(name).into())];
    let spare = spare_name(device).filter(|spare| link.name != *spare);
    changes.extend(spare.map(LinkChange::Name));
    for change in changes {
        match host.set_link(link.index, &change).await {
            Err(source) if !is_taken(&source) => return Err(KernelError::Link { device, source }),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_taken(error: &NetlinkError) -> bool {
    error.errno() == Some(Errno::EEXIST)
}
