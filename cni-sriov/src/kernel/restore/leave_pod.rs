//! Moves the network device of a VF out of the pod, whatever it is called there.

use std::path::Path;

use nix::errno::Errno;
use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::netns::Netns;
use sriov_host::{IfName, PciAddress};

use crate::kernel::error::KernelError;
use crate::model::{SavedAttachmentV1, spare_name};
use crate::setup::Setup;

/// Moves the network device to the host under `name`; nothing to do when the pod or the device in it is gone.
///
/// # Errors
/// When the device is in the pod and cannot be moved.
pub(super) async fn leave_pod(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    name: &IfName,
) -> Result<(), KernelError> {
    let device = saved.device;
    let netns = Netns::open(Path::new(&saved.netns.path));
    let Some(netns) = netns.ok().filter(|netns| netns.id() == saved.netns.id) else {
        return Ok(());
    };
    let pod = Netlink::in_netns(&netns, setup.request_deadline)?;
    let failed = |source| KernelError::Link { device, source };
    let Some(link) = find(&pod, saved).await.map_err(failed)? else {
        return Ok(());
    };
    let host = Netns::current().map_err(KernelError::Netns)?;
    let moved = move_out(&pod, &link, &host, name, device).await;
    moved.map_err(failed)
}

/// Looks for the name that the device got first: the list of all links of the pod is needed only when the pod renamed it.
async fn find(pod: &Netlink, saved: &SavedAttachmentV1) -> Result<Option<Link>, NetlinkError> {
    let named = pod.link_named(&saved.ifname).await?;
    match named.filter(|link| link.device == Some(saved.device)) {
        Some(link) => Ok(Some(link)),
        None => pod.link_of_device(saved.device).await,
    }
}

/// The device leaves the pod in any case, even when its name or one of its alternative names is taken on the host.
async fn move_out(
    pod: &Netlink,
    link: &Link,
    host: &Netns,
    name: &IfName,
    device: PciAddress,
) -> Result<(), NetlinkError> {
    let refused = match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => error,
        done => return done,
    };
    // The kernel moves first and then renames (net/core/rtnetlink.c, `do_setlink`): if only the name is taken, the device has moved.
    let still = pod.link(link.index).await?;
    if still.is_none_or(|still| still.device != Some(device)) {
        return Ok(());
    }
    // It has not moved: an alternative name, or its name in the pod, is taken too.
    let Some(spare) = spare_name(device) else {
        return Err(refused);
    };
    for altname in &link.altnames {
        let dropped = LinkChange::DropAltName(altname.clone());
        pod.set_link(link.index, &dropped).await?;
    }
    pod.set_link(link.index, &LinkChange::Down).await?;
    pod.set_link(link.index, &LinkChange::Name(spare)).await?;
    match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        done => done,
    }
}
