//! One VF at its PF: sets one setting, reads all of them, and verifies that they were kept.

use std::time::{Duration, Instant};

use sriov_host::netlink::{Netlink, NetlinkError};
use sriov_host::vf::{VfChange, VfSettings};
use sriov_host::{HostRoot, PciAddress, VfIndex};

use super::error::KernelError;
use crate::device::{DeviceError, pf_view, read_vf};
use crate::model::{PfView, SavedAttachmentV1, VfView};

/// Time that a driver gets to show what it accepted: some drivers set addresses by a message to the PF and answer first (iavf, bnxt).
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// Time between two readings.
pub(super) const SETTLE_STEP: Duration = Duration::from_millis(20);

/// One VF at its PF.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// PCI address of the VF.
    pub(crate) device: PciAddress,
    /// Its PF.
    pub(crate) pf: PfView,
    /// Its index at the PF.
    pub(crate) vf: VfIndex,
}

impl Target {
    /// The VF that was observed.
    pub(crate) fn of_view(view: &VfView) -> Self {
        Self {
            device: view.address,
            pf: view.pf.clone(),
            vf: view.index,
        }
    }

    /// The VF of a saved attachment.
    ///
    /// # Errors
    /// When the PF or its uplink is not on the host.
    pub(crate) fn of_saved(
        host: &HostRoot,
        saved: &SavedAttachmentV1,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            device: saved.device,
            pf: pf_view(host, saved.pf)?,
            vf: saved.vf,
        })
    }

    /// Sets one setting at the PF.
    ///
    /// # Errors
    /// [`KernelError::Setting`].
    pub(crate) async fn set(&self, host: &Netlink, change: &VfChange) -> Result<(), KernelError> {
        let set = host.set_vf(self.pf.ifindex, self.vf, change).await;
        set.map_err(|source| KernelError::Setting {
            setting: change.setting(),
            driver: self.pf.driver.clone(),
            pf: self.pf.address,
            vf: self.vf,
            source,
        })
    }

    /// Settings that the PF reports; `None` when its driver does not report them.
    ///
    /// # Errors
    /// [`KernelError::Device`], also when the driver cannot describe the VF now.
    pub(crate) async fn settings(&self, host: &Netlink) -> Result<Option<VfSettings>, KernelError> {
        let (_, settings) = read_vf(host, &self.pf, self.vf, self.device).await?;
        Ok(settings)
    }

    /// Whether the PF is up; false when that cannot be read.
    pub(super) async fn is_pf_up(&self, host: &Netlink) -> bool {
        let uplink = host.link(self.pf.ifindex).await;
        uplink.is_ok_and(|uplink| uplink.is_some_and(|uplink| uplink.is_up))
    }

    /// Whether the PF is up and has a link; true when that cannot be read.
    pub(super) async fn has_link(&self, host: &Netlink) -> bool {
        match host.link(self.pf.ifindex).await {
            Ok(Some(uplink)) => uplink.is_up && uplink.has_carrier,
            Ok(None) | Err(_) => true,
        }
    }

    /// Reads the VF back and compares it with what is wanted.
    ///
    /// # Errors
    /// [`KernelError::NotKept`] for the first setting that still has another value after some time.
    pub(crate) async fn verify(
        &self,
        host: &Netlink,
        wanted: &[VfChange],
    ) -> Result<(), KernelError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + SETTLE;
        loop {
            let settings = self.settings(host).await?.unwrap_or_default();
            let other = wanted
                .iter()
                .find(|change| change.is_done(&settings) == Some(false));
            match other {
                None => return Ok(()),
                Some(_) if Instant::now() < deadline => tokio::time::sleep(SETTLE_STEP).await,
                Some(change) => {
                    let found = change.found(&settings).map(|found| found.to_string());
                    return Err(self.not_kept(
                        change.setting(),
                        change.to_string(),
                        found.unwrap_or_default(),
                    ));
                }
            }
        }
    }

    /// A setting that was accepted and has another value.
    pub(super) fn not_kept(
        &self,
        setting: &'static str,
        wanted: String,
        found: String,
    ) -> KernelError {
        KernelError::NotKept {
            setting,
            wanted,
            found,
            driver: self.pf.driver.clone(),
            pf: self.pf.address,
            vf: self.vf,
        }
    }

    /// A request about the network device or its PF that was refused.
    pub(super) fn link_error(&self, source: NetlinkError) -> KernelError {
        KernelError::Link {
            device: self.device,
            source,
        }
    }
}
