//! The settings at the PF: observed, restored, and read back.

use nix::errno::Errno;
use sriov_host::netlink::Netlink;
use sriov_host::vf::{VfChange, VfSettings};
use sriov_host::{MacAddr, chain};

use crate::kernel::error::KernelError;
use crate::kernel::target::Target;
use crate::model::SavedAttachmentV1;
use crate::plan::restore::{SettingsPlan, plan_settings, settings_to_verify};
use crate::setup::Setup;

/// The part of a restoration that is the PF's; empty when the attachment set nothing at the PF.
#[derive(Default)]
pub(super) struct SettingsRestore {
    target: Option<Target>,
    now: VfSettings,
    plan: SettingsPlan,
    knows_address: bool,
    /// Changes that the PF refused because it had no link.
    postponed: Vec<VfChange>,
}

impl SettingsRestore {
    /// Reads the settings and plans their restoration.
    pub(super) async fn observe(
        setup: &Setup,
        saved: &SavedAttachmentV1,
        host: &Netlink,
    ) -> Result<Self, KernelError> {
        if saved.wanted.is_empty() {
            return Ok(Self::default());
        }
        let target = Target::of_saved(&setup.host, saved)?;
        let now = target.settings(host).await?.unwrap_or_default();
        let plan = plan_settings(&saved.wanted, &saved.baseline, &now, &target.pf.driver);
        Ok(Self {
            target: Some(target),
            now,
            plan,
            knows_address: knows_address(saved),
            postponed: Vec::new(),
        })
    }

    /// Restores what an earlier call postponed; returns what must still wait.
    pub(super) async fn of_postponed(
        setup: &Setup,
        saved: &SavedAttachmentV1,
        host: &Netlink,
    ) -> Result<Vec<VfChange>, KernelError> {
        let mut settings = Self {
            target: Some(Target::of_saved(&setup.host, saved)?),
            knows_address: knows_address(saved),
            ..Self::default()
        };
        match settings.set(host, &saved.postponed).await.pop() {
            Some(error) => return Err(error),
            None => {
                settings
                    .verify_each(saved, host, saved.postponed.clone())
                    .await?;
            }
        }
        Ok(settings.postponed())
    }

    /// The settings that must wait until the PF has a link.
    pub(super) fn postponed(self) -> Vec<VfChange> {
        self.postponed
    }

    /// The changes that restore the settings.
    pub(super) fn plan(&self) -> &SettingsPlan {
        &self.plan
    }

    /// Executes changes; goes on after a refusal and returns all of them.
    ///
    /// A driver may need a link for a change: igb and ixgbe compute a rate from the speed of the link (`igb_ndo_set_vf_bw`,
    /// `intel/igb/igb_main.c`; `ixgbe_ndo_set_vf_bw`, `intel/ixgbe/ixgbe_sriov.c`), and bnxt refuses all changes
    /// while its PF is down (`bnxt_vf_ndo_prep`, `broadcom/bnxt/bnxt_sriov.c`).
    /// Such a change is postponed: the pod must not wait for a cable.
    pub(super) async fn set(&mut self, host: &Netlink, changes: &[VfChange]) -> Vec<KernelError> {
        let mut errors = Vec::new();
        let Some(target) = &self.target else {
            return errors;
        };
        for change in changes {
            match target.set(host, change).await {
                Ok(()) => {}
                // The driver neither supports nor reports the setting: it refused it to ADD too, so that nothing has changed.
                Err(error) if is_unsupported(&error) && change.found(&self.now).is_none() => {
                    tracing::debug!(%error, "the setting cannot have changed");
                }
                // The address before the attachment is not known, and not each driver accepts zero.
                Err(error) if *change == VfChange::Mac(MacAddr::ZERO) && !self.knows_address => {
                    tracing::warn!(%error, "the next attachment sets an address, or the VF keeps this one");
                }
                Err(error) if is_refusal(&error) && !target.has_link(host).await => {
                    tracing::warn!(
                        error = chain(&error),
                        "the PF has no link: the setting is restored later"
                    );
                    self.postponed.push(*change);
                }
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// Reads the VF back: it is free only when each touched setting has its baseline value again.
    pub(super) async fn verify(
        &self,
        saved: &SavedAttachmentV1,
        host: &Netlink,
    ) -> Result<(), KernelError> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        let wanted = settings_to_verify(&saved.wanted, &saved.baseline, &target.pf.driver);
        self.verify_each(saved, host, wanted).await
    }

    async fn verify_each(
        &self,
        saved: &SavedAttachmentV1,
        host: &Netlink,
        mut wanted: Vec<VfChange>,
    ) -> Result<(), KernelError> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        let postponed = self.postponed.iter().map(VfChange::setting);
        wanted.retain(|change| !postponed.clone().any(|setting| setting == change.setting()));
        match target.verify(host, &wanted).await {
            // The VF cannot reach a PF that is down, so that its driver reports no more than what the PF itself has set.
            Err(
                error @ KernelError::NotKept {
                    setting: "mac" | "max_tx_rate" | "link_state",
                    ..
                },
            ) if !target.is_pf_up(host).await => {
                tracing::warn!(%error, "the PF is down");
                Ok(())
            }
            Err(KernelError::NotKept { wanted, found, .. }) => Err(KernelError::Dirty {
                device: saved.device,
                what: format!("it had {wanted}, its PF reports {found}"),
            }),
            done => done,
        }
    }
}

fn knows_address(saved: &SavedAttachmentV1) -> bool {
    saved.baseline.settings.is_some_and(|was| was.mac.is_some())
}

/// Whether the kernel answered that it does not make the change.
fn is_refusal(error: &KernelError) -> bool {
    matches!(error, KernelError::Setting { source, .. } if source.errno().is_some())
}

/// Whether the driver does not support the setting at all.
fn is_unsupported(error: &KernelError) -> bool {
    matches!(error, KernelError::Setting { source, .. } if source.errno() == Some(Errno::EOPNOTSUPP))
}
