//! The one undo that DEL, GC, a failing ADD and the next ADD share: it works from the journal alone.

mod link;

use sriov_host::netlink::Netlink;
use sriov_host::sysfs::{self, Presence};
use sriov_host::vf::{VfChange, VfSettings};

use self::link::Homecoming;
pub use self::link::{rightful_name, spare_name};
use crate::Setup;
use crate::apply::{self, Target};
use crate::device;
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::Journal;
use crate::plan::{self, UndoPlan};
use crate::saved::{Phase, SavedAttachmentV1};

/// Tries to bring back what a driver accepted and then reports otherwise.
const TRIES: u32 = 3;

/// Brings a VF back to what it was, gives its addresses back and forgets the attachment; does all it can and tells what it could not.
///
/// A VF that the Go plugin has passed on to another pod is not touched.
///
/// # Errors
/// The attachment stays in the journal: as dirty when the VF is not what it was, else as released.
pub async fn undo(
    setup: &Setup,
    journal: &Journal,
    saved: &SavedAttachmentV1,
    ipam: &Ipam,
) -> Result<(), Failure> {
    if journal.is_passed_on(saved)? {
        ipam.del().map_err(Failure::Ipam)?;
        return journal.forget(saved);
    }
    let mut failures = Vec::new();
    let mut phase = Phase::Released;
    if saved.phase != Phase::Released
        && let Err(failure) = restore_stubbornly(setup, saved).await
    {
        failures.push(failure);
        phase = Phase::Dirty;
    }
    failures.extend(ipam.del().map_err(Failure::Ipam).err());
    if failures.is_empty() {
        return journal.remove(saved);
    }
    if saved.phase != phase {
        let now = SavedAttachmentV1 {
            phase,
            ..saved.clone()
        };
        failures.extend(journal.write(&now).err());
    }
    Failure::all(failures)
}

/// A driver may accept what it then loses. igbvf does: once its PF was too slow to answer, its mailbox is dead,
/// and every later message lost without an error, until the driver resets the VF (drivers/net/ethernet/intel/igbvf/mbx.c,
/// `e1000_poll_for_ack`); setting the network device up and down does that.
async fn restore_stubbornly(setup: &Setup, saved: &SavedAttachmentV1) -> Result<(), Failure> {
    let mut tries = 1;
    loop {
        match restore(setup, saved, tries > 1).await {
            Err(failure @ Failure::Dirty { .. }) if tries < TRIES => {
                tracing::warn!("{failure}; trying again");
                tries += 1;
            }
            done => return done,
        }
    }
}

/// Brings the VF back to what it was, and reads it back.
async fn restore(setup: &Setup, saved: &SavedAttachmentV1, resets: bool) -> Result<(), Failure> {
    if sysfs::boot_id(&setup.host).map_err(Failure::Sysfs)? != saved.boot_id {
        // A reboot brought the VF back to its defaults; what was before it is not to be set on it.
        return Ok(());
    }
    // A VF that is gone has no settings, and one that was made again has those of its driver.
    if sysfs::incarnation(&setup.host, saved.device) != Some(saved.incarnation) {
        return Ok(());
    }
    let Some(present) = sysfs::presence(&setup.host, saved.device).map_err(Failure::Sysfs)? else {
        return Ok(());
    };
    let host = setup.host_netlink()?;
    let mut failures = Vec::new();
    // Whatever is the matter with the PF, the network device leaves the pod.
    let settings = match Settings::observe(setup, saved, &host).await {
        Ok(settings) => settings,
        Err(failure) => {
            failures.push(failure);
            Settings::default()
        }
    };
    let undo = &settings.undo;
    failures.extend(settings.set(&host, &undo.before_link).await);
    if undo.rebinds && has_netdev(&present) {
        failures.extend(apply::rebind(&setup.host, saved.device).err());
    }
    if let (Some(was), true) = (&saved.baseline.link, has_netdev(&present)) {
        let how = Homecoming {
            is_unpinned: undo.unpins,
            resets: resets && undo.unpins,
        };
        let home = link::bring_home(setup, saved, &host, was, how).await;
        failures.extend(home.err());
    }
    failures.extend(settings.set(&host, &undo.after_link).await);
    if failures.is_empty() {
        settings.verify(saved, &host).await
    } else {
        Failure::all(failures)
    }
}

/// The part of the undo that is the PF's; nothing of it when nothing was asked of the PF.
#[derive(Default)]
struct Settings {
    target: Option<Target>,
    now: VfSettings,
    undo: UndoPlan,
}

impl Settings {
    async fn observe(
        setup: &Setup,
        saved: &SavedAttachmentV1,
        host: &Netlink,
    ) -> Result<Self, Failure> {
        if saved.wanted.is_empty() {
            return Ok(Self::default());
        }
        let target = Target {
            device: saved.device,
            pf: device::pf_view(&setup.host, saved.pf)?,
            vf: saved.vf,
        };
        let now = target.settings(host).await?.unwrap_or_default();
        let undo = plan::plan_undo(&saved.wanted, &saved.baseline, &now, &target.pf.driver);
        Ok(Self {
            target: Some(target),
            now,
            undo,
        })
    }

    async fn set(&self, host: &Netlink, changes: &[VfChange]) -> Vec<Failure> {
        let mut failures = Vec::new();
        if let Some(target) = &self.target {
            for change in changes {
                match target.set(host, change).await {
                    // ADD was refused it too, and nobody can say that it is otherwise.
                    Err(failure)
                        if failure.is_unsupported() && change.found(&self.now).is_none() =>
                    {
                        tracing::debug!("{failure}");
                    }
                    done => failures.extend(done.err()),
                }
            }
        }
        failures
    }

    /// A VF is free again only when it was read back and is what it was, as far as the attachment touched it.
    async fn verify(&self, saved: &SavedAttachmentV1, host: &Netlink) -> Result<(), Failure> {
        let (Some(target), Some(was)) = (&self.target, &saved.baseline.settings) else {
            return Ok(());
        };
        let wanted: Vec<VfChange> = saved
            .wanted
            .iter()
            .filter_map(|change| change.found(was))
            .collect();
        let Err(failure) = target.verify(host, &wanted).await else {
            return Ok(());
        };
        Err(if let Failure::NotKept { wanted, found, .. } = failure {
            Failure::Dirty {
                device: saved.device,
                what: format!("it had {wanted}, its PF reports {found}"),
            }
        } else {
            failure
        })
    }
}

/// Whether the VF, wherever its network device is, has a driver that makes one.
fn has_netdev(vf: &Presence) -> bool {
    let driver = vf.driver.as_deref();
    !vf.netdevs.is_empty() || driver.is_some_and(|driver| !device::is_userspace(driver))
}
