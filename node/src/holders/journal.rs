//! Reads the CNI plugin's journal: which VFs are attached to containers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sriov_device_info::attachments::{self, Phase};
use sriov_host::{HostRoot, PciAddress, sysfs};
use sriov_inventory::owners::Attachment;

/// Reads the attachments of a state directory, without those of earlier boots and of VFs that were removed or created again.
///
/// The CNI plugin cleans up such entries at its next call.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn attachments(
    host: &HostRoot,
    cni_dir: &Path,
) -> io::Result<BTreeMap<PciAddress, Attachment>> {
    let current = current(host, cni_dir)?.into_iter();
    Ok(current
        .map(|(vf, found)| (vf, state(found.phase)))
        .collect())
}

/// The same attachments with all that the journal has of them.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn current(
    host: &HostRoot,
    cni_dir: &Path,
) -> io::Result<BTreeMap<PciAddress, attachments::Attachment>> {
    let boot_id = sysfs::boot_id(host).ok();
    let mut all = attachments::read(cni_dir)?;
    all.retain(|vf, found| {
        boot_id.as_ref().is_none_or(|boot| *boot == found.boot_id)
            && sysfs::incarnation(host, *vf) == Some(found.incarnation)
    });
    Ok(all)
}

fn state(phase: Phase) -> Attachment {
    match phase {
        Phase::Attached => Attachment::Attached,
        Phase::Dirty => Attachment::Dirty,
        Phase::Prepared | Phase::Released | Phase::Other => Attachment::Unfinished,
    }
}
