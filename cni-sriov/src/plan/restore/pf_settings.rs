//! The settings of a VF at its PF, on the way back to the baseline.

use sriov_host::MacAddr;
use sriov_host::vf::{VfChange, VfSettings};

use crate::model::{Baseline, Driver, driver_defaults};

/// The changes at the PF that restore the baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingsPlan {
    /// Changes before the network device is restored.
    pub(crate) before_link: Vec<VfChange>,
    /// Whether the PF loses the VF's address on the way, so that the network device must set its own address again.
    pub(crate) unpins: bool,
    /// Whether the VF's driver must be rebound before its network device is restored.
    pub(crate) rebinds: bool,
    /// Changes after the network device is restored: the network device can no longer change an address that is pinned at the PF.
    pub(crate) after_link: Vec<VfChange>,
}

/// Plans the restoration of each touched setting that is not restored already, in reverse order.
///
/// On a driver that pins addresses, an address is unpinned first, as it cannot be read whether it is pinned.
/// It is pinned again only where the PF had another address than the network device, because then an operator had set it.
pub(crate) fn plan_settings(
    touched: &[VfChange],
    baseline: &Baseline,
    now: &VfSettings,
    pf_driver: &Driver,
) -> SettingsPlan {
    let was = settings_set_by_pf(baseline, pf_driver);
    let unpins = pf_driver.pins_addresses()
        && touched
            .iter()
            .any(|change| matches!(change, VfChange::Mac(_)));
    let mut before_link: Vec<VfChange> = touched
        .iter()
        .rev()
        .filter_map(|change| previous(change, &was))
        .filter(|back| !(unpins && matches!(back, VfChange::Mac(_))))
        .filter(|back| back.is_done(now) != Some(true))
        .collect();
    let rebinds = before_link
        .iter()
        .any(|change| matches!(change, VfChange::NodeGuid(_) | VfChange::PortGuid(_)));
    let mut after_link = Vec::new();
    if unpins {
        before_link.push(VfChange::Mac(MacAddr::ZERO));
        after_link.extend(pinned_by_operator(baseline).map(VfChange::Mac));
    }
    SettingsPlan {
        before_link,
        unpins,
        rebinds,
        after_link,
    }
}

/// The settings that must be read back as they were before the VF is free: those that were touched and reported.
///
/// A zero address means that the PF sets none: what the driver then reports may be the VF's own.
pub(crate) fn settings_to_verify(
    touched: &[VfChange],
    baseline: &Baseline,
    pf_driver: &Driver,
) -> Vec<VfChange> {
    // The own address is compared where the network device sets it again: its message to the PF may be lost (`kernel::restore`).
    let was = if pf_driver.pins_addresses() {
        baseline.settings.unwrap_or_default()
    } else {
        settings_set_by_pf(baseline, pf_driver)
    };
    let restored = touched.iter().filter_map(|change| change.found(&was));
    restored
        .filter(|change| *change != VfChange::Mac(MacAddr::ZERO))
        .collect()
}

/// The settings of a baseline, without an address that is the network device's own:
/// the PF has not set it, and setting it would keep the next pod from choosing its own addresses.
fn settings_set_by_pf(baseline: &Baseline, pf_driver: &Driver) -> VfSettings {
    let settings = baseline.settings.unwrap_or_default();
    let own = baseline.link.as_ref().and_then(|link| link.mac);
    let is_own = own.is_some() && settings.mac == own && pf_driver.reports_own_addresses();
    VfSettings {
        mac: if is_own {
            Some(MacAddr::ZERO)
        } else {
            settings.mac
        },
        ..settings
    }
}

/// A setting that the driver does not report goes back to the value that the driver gives a new VF.
fn previous(change: &VfChange, was: &VfSettings) -> Option<VfChange> {
    change
        .found(was)
        .or_else(|| change.found(&driver_defaults()))
}

fn pinned_by_operator(baseline: &Baseline) -> Option<MacAddr> {
    let own = baseline.link.as_ref().and_then(|link| link.mac);
    let admin = baseline.settings.and_then(|settings| settings.mac)?;
    (!admin.is_zero() && own != Some(admin)).then_some(admin)
}

#[cfg(test)]
mod tests;
