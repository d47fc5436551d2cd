//! Takes back the settings that reached a VF which was created again during the call.

use sriov_host::netlink::Netlink;
use sriov_host::vf::VfChange;

use super::error::KernelError;
use super::target::Target;
use crate::model::{Baseline, Driver};
use crate::plan::restore::plan_settings;

/// Takes back changes that reached a VF which was created during the call.
///
/// # Errors
/// Each setting that could not be read or set; nothing when the VF is gone.
pub(crate) async fn take_back(
    target: &Target,
    host: &Netlink,
    touched: &[VfChange],
) -> Vec<KernelError> {
    let now = match target.settings(host).await {
        Ok(now) => now.unwrap_or_default(),
        Err(error) => return vec![error],
    };
    let done: Vec<VfChange> = touched
        .iter()
        .copied()
        .filter(|change| change.is_done(&now) != Some(false))
        .collect();
    let new = Baseline {
        settings: None,
        link: None,
        driver: None,
    };
    let mut errors = Vec::new();
    for change in plan_settings(&done, &new, &now, &Driver::default()).before_link {
        errors.extend(target.set(host, &change).await.err());
    }
    errors
}
