//! Releases an attachment that no file describes: the journal is lost or torn.
//!
//! A VF that is not proven to be this attachment's is not touched: a late DEL must do nothing to the VF of the next pod.

use sriov_host::netlink::{Link, Netlink};
use sriov_host::netns::Netns;
use sriov_host::sysfs::Presence;
use sriov_host::vf::VfSettings;
use sriov_host::{IfName, PciAddress, sysfs};

use super::reconstruct::reconstruct;
use super::undo::undo;
use crate::device::{self, DeviceError, driver_of};
use crate::failure::Failure;
use crate::ipam::Ipam;
use crate::journal::{Journal, JournalError};
use crate::kernel::KernelError;
use crate::model::{Baseline, SavedAttachmentV1, SavedLink, guessed_settings, spare_name};
use crate::plan::named_changes;
use crate::request::Request;
use crate::result::Attached;
use crate::setup::Setup;
use sriov_host::chain;

/// Restores the VF to its driver's defaults if it is proven to be this attachment's, and calls IPAM in any case (CNI specification, section 2, DEL).
///
/// `named` is the device that the configuration names.
///
/// # Errors
/// What could not be restored or released.
pub(crate) async fn release_lost(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    named: Option<PciAddress>,
    ipam: &Ipam,
) -> Result<(), Failure> {
    let device = match named.or_else(|| device_of_result(request)) {
        None => claimed_in_pod(setup, request).await,
        named => named,
    };
    let Some(device) = device else {
        return Ok(ipam.del()?);
    };
    let _lock = journal.lock(device)?;
    let (is_torn, unreadable) = match journal.read(device) {
        // The VF belongs to another attachment now.
        Ok(Some(_)) => return Ok(ipam.del()?),
        Ok(None) => (false, None),
        Err(JournalError::Content { .. }) => (true, None),
        Err(error) if error.is_later_of(request.key()) == Some(false) => return Ok(ipam.del()?),
        Err(error) => (false, Some(error)),
    };
    match guess(setup, journal, request, device, is_torn).await {
        // A later version wrote the file, and only that version can release the VF.
        Ok(Some(_)) if matches!(unreadable, Some(JournalError::Later { .. })) => {
            return Failure::all(unreadable.map(Failure::from).into_iter().collect());
        }
        Ok(Some(saved)) => {
            tracing::warn!(%device, "nothing is saved of the VF, it goes back to its defaults");
            // A disk that takes no file must not keep the VF in the pod.
            let written = journal.write(&saved);
            undo(setup, journal, &saved, ipam).await?;
            report_disk(written);
        }
        Ok(None) => {
            report_disk(unreadable.map_or(Ok(()), Err));
            ipam.del()?;
        }
        Err(failure) => {
            let released = ipam.del().map_err(Failure::from);
            return Failure::all(
                [Some(failure), released.err()]
                    .into_iter()
                    .flatten()
                    .collect(),
            );
        }
    }
    Ok(journal.sweep(device)?)
}

/// Nothing is left to be saved, so that the disk does not matter any more.
fn report_disk(done: Result<(), JournalError>) {
    if let Err(error) = done {
        tracing::warn!(
            error = chain(&error),
            "the VF is released without the state directory"
        );
    }
}

/// The VF that the result of ADD names.
fn device_of_result(request: &Request) -> Option<PciAddress> {
    let previous = Attached::previous(request.conf()).ok()?;
    let interface = previous.interface(request.ifname.as_str())?;
    interface.pci_id.as_deref()?.parse().ok()
}

/// The VF of the pod's claims that the pod has under the name of the interface.
async fn claimed_in_pod(setup: &Setup, request: &Request) -> Option<PciAddress> {
    let claimed = device::claimed(setup, request);
    let pod = pod_netns(request).filter(|_| !claimed.is_empty())?;
    for device in claimed {
        let link = link_in_pod(setup, &pod, device).await.ok().flatten();
        if link.is_some_and(|link| link.name == request.ifname) {
            return Some(device);
        }
    }
    None
}

/// The attachment, if the VF shows that it was this one: its network device is in the pod,
/// or on the host under the pod's name, where the kernel leaves the device of a deleted network namespace,
/// or there is a torn file and no other pod has the VF.
async fn guess(
    setup: &Setup,
    journal: &Journal,
    request: &Request,
    device: PciAddress,
    is_torn: bool,
) -> Result<Option<SavedAttachmentV1>, Failure> {
    let vf = sysfs::presence(&setup.host, device).map_err(DeviceError::from)?;
    let Some(vf) = vf else {
        return Ok(None);
    };
    let pod = pod_netns(request);
    let holder = journal.allocated_to(device).map(|holder| holder.id());
    if holder.is_some() && holder != pod.as_ref().map(Netns::id) {
        return Ok(None);
    }
    let in_pod = match &pod {
        Some(netns) if vf.netdevs.is_empty() => link_in_pod(setup, netns, device).await?,
        Some(_) | None => None,
    };
    let mut netdevs = vf.netdevs.iter();
    let is_left_behind = netdevs.any(|netdev| netdev.name == request.ifname);
    if in_pod.is_none() && !is_left_behind && !(is_torn && is_usable(&vf)) {
        return Ok(None);
    }
    let baseline = Baseline {
        settings: Some(guessed_settings()),
        link: lost_link(request, &vf, in_pod.as_ref()),
        driver: None,
    };
    let wanted = named_changes(&request.conf().wanted, &VfSettings::default());
    Ok(reconstruct(setup, request, device, wanted, baseline)?)
}

/// The pod's network namespace, if it still exists and is not the host's.
fn pod_netns(request: &Request) -> Option<Netns> {
    let netns = Netns::open(request.netns.as_deref()?).ok()?;
    let host = Netns::current().ok()?;
    (host.id() != netns.id()).then_some(netns)
}

async fn link_in_pod(
    setup: &Setup,
    netns: &Netns,
    device: PciAddress,
) -> Result<Option<Link>, KernelError> {
    let pod = Netlink::in_netns(netns, setup.request_deadline)?;
    let found = pod.link_of_device(device).await;
    found.map_err(|source| KernelError::Link { device, source })
}

/// Whether a pod could use the VF as it stands on the host.
fn is_usable(vf: &Presence) -> bool {
    !vf.netdevs.is_empty() || driver_of(vf).is_some_and(|driver| driver.is_userspace())
}

/// The network device as it must have been, as far as that can be known.
fn lost_link(request: &Request, vf: &Presence, in_pod: Option<&Link>) -> Option<SavedLink> {
    let on_host = || vf.netdevs.first().map(|netdev| netdev.name.clone());
    let current = match in_pod {
        Some(link) => Some(link.name.to_ifname().unwrap_or(request.ifname.clone())),
        None => on_host(),
    };
    Some(SavedLink {
        name: host_name(current?, request, vf.address),
        altnames: None,
        // The address that the device was created with; the address of the pod must not reach the next one.
        mac: in_pod.and_then(|link| link.permanent_mac),
        mtu: None,
        is_up: false,
        index: None,
        properties: None,
        ethtool: None,
    })
}

/// The name of the device on the host is lost; the pod's name would be in the way of the next pod.
fn host_name(current: IfName, request: &Request, device: PciAddress) -> IfName {
    let spare = spare_name(device).filter(|_| current == request.ifname);
    spare.unwrap_or(current)
}
