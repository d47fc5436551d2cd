//! The network device: brought back to the host from wherever it is, restored, and compared with a clean one.
//!
//! Nothing that a pod did is trusted: where the device cannot be found, read or restored, the driver of the VF starts again.

use std::time::Duration;

use nix::errno::Errno;
use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::{IfName, PciAddress, chain, sysfs};

use super::leave_pod::{Whereabouts, is_below_pod, leave_pod};
use crate::kernel::error::KernelError;
use crate::kernel::rebind::{await_netdev, restart};
use crate::model::{SavedAttachmentV1, SavedLink, claim_to, spare_name};
use crate::plan::restore::{LinkRestore, ReturnedLink, link_changes, link_difference};
use crate::setup::Setup;

/// Time in which the kernel returns the network device of a deleted network namespace.
const RETURN: Duration = Duration::from_secs(10);
/// The same where the pod's network namespace exists: another one, to which the pod moved the device, may have been deleted.
const SHORT_RETURN: Duration = Duration::from_secs(1);
/// Changes of one device above which a restart of the driver is cheaper: a pod can give it hundreds of names.
const MOST_CHANGES: usize = 32;

/// The network device of one attachment.
#[derive(Clone, Copy)]
pub(super) struct Netdev<'a> {
    pub(super) setup: &'a Setup,
    pub(super) saved: &'a SavedAttachmentV1,
    pub(super) host: &'a Netlink,
    /// What it was like.
    pub(super) was: &'a SavedLink,
}

impl Netdev<'_> {
    /// Restores the network device, with a restart of its driver if there is no other way.
    ///
    /// # Errors
    /// [`KernelError::Dirty`] when it was restored and is not as it was, or why the driver could not be restarted.
    pub(super) async fn restore(self, how: LinkRestore) -> Result<(), KernelError> {
        let reason = match self.restore_present(how).await {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => reason,
            Err(error) => chain(&error),
        };
        self.restore_restarted(how, &reason).await
    }

    /// Restarts the driver of the VF, and restores the network device that it makes.
    ///
    /// # Errors
    /// As for [`Self::restore`].
    pub(super) async fn restore_restarted(
        self,
        how: LinkRestore,
        reason: &str,
    ) -> Result<(), KernelError> {
        let device = self.saved.device;
        tracing::warn!(%device, reason, "restarting the driver of the VF");
        let index = restart(&self.setup.host, device).await?;
        let found = ReturnedLink {
            is_fresh: true,
            ..self.look(index).await?
        };
        match self.change(found, how).await? {
            None => Ok(()),
            Some(what) => Err(KernelError::Dirty { device, what }),
        }
    }

    /// Restores the network device as it is; returns what is still not as it was.
    async fn restore_present(self, how: LinkRestore) -> Result<Option<String>, KernelError> {
        let index = self.bring_back().await?;
        let found = self.look(index).await?;
        self.change(found, how).await
    }

    /// Finds the network device and moves it to the host.
    async fn bring_back(self) -> Result<u32, KernelError> {
        let Self {
            setup, saved, was, ..
        } = self;
        if let Some(index) = sysfs::netdev_index(&setup.host, saved.device)? {
            return Ok(index);
        }
        let time = match leave_pod(setup, saved, &was.name).await? {
            Whereabouts::Host | Whereabouts::GonePod => RETURN,
            Whereabouts::Elsewhere => SHORT_RETURN,
        };
        await_netdev(&setup.host, saved.device, time).await
    }

    async fn look(self, index: u32) -> Result<ReturnedLink, KernelError> {
        let has_uppers = match self.host.has_upper_devices(index) {
            Ok(has_uppers) => has_uppers,
            Err(error) => {
                tracing::debug!(%error, "only the namespace of the pod is searched for upper devices");
                is_below_pod(self.setup, self.saved, index).await?
            }
        };
        Ok(ReturnedLink {
            link: self.read(index).await?,
            ethtool: self.host.ethtool_settings(index).ok(),
            has_uppers,
            has_programs: self.host.has_programs(index).unwrap_or_default(),
            is_fresh: false,
        })
    }

    /// Executes the changes that restore the device; returns what is still not as it was.
    async fn change(
        self,
        mut found: ReturnedLink,
        how: LinkRestore,
    ) -> Result<Option<String>, KernelError> {
        let changes = link_changes(&found, self.was, how);
        if changes.len() > MOST_CHANGES && !found.is_fresh {
            return Ok(Some(format!("{} changes would restore it", changes.len())));
        }
        for change in &changes {
            self.apply(&found.link, change).await?;
        }
        if !changes.is_empty() {
            found.link = self.read(found.link.index).await?;
        }
        let left = link_difference(&found, self.was);
        Ok(left.map(|difference| format!("its network device: {difference}")))
    }

    async fn read(self, index: u32) -> Result<Link, KernelError> {
        let device = self.saved.device;
        let link = self.host.link(index).await;
        link.map_err(|source| KernelError::Link { device, source })?
            .ok_or(KernelError::NoLink(device))
    }

    async fn apply(self, link: &Link, change: &LinkChange) -> Result<(), KernelError> {
        let device = self.saved.device;
        match (change, self.host.set_link(link.index, change).await) {
            (LinkChange::Name(name), Err(error)) if is_taken(&error) => {
                claim_name(self.host, link, device, name).await
            }
            // Another device took the alternative name in the meantime, or udev added it first.
            (LinkChange::AddAltName(name), Err(error)) if is_taken(&error) => {
                tracing::warn!(%device, %name, "the alternative name belongs to another device now");
                Ok(())
            }
            (_, done) => done.map_err(|source| KernelError::Link { device, source }),
        }
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
