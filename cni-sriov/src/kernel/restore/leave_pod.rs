//! Moves the network device of a VF out of the pod, whatever it is called there.

use std::path::Path;

use nix::errno::Errno;
use sriov_host::IfName;
use sriov_host::netlink::{Link, LinkChange, Netlink, NetlinkError};
use sriov_host::netns::Netns;

use crate::kernel::error::KernelError;
use crate::model::{SavedAttachmentV1, spare_name};
use crate::setup::Setup;

/// What became of the network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// It was moved to the host.
    Host,
    /// The pod's namespace is gone: the kernel moves the device to the host when it cleans up.
    ///
    /// It may also be in a third namespace.
    GonePod,
    /// The pod's namespace is there, and the device is not in it.
    Elsewhere,
}

/// Moves the network device to the host under `name`.
///
/// # Errors
/// When the device is in the pod and cannot be moved.
pub(super) async fn leave_pod(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    name: &IfName,
) -> Result<Whereabouts, KernelError> {
    let device = saved.device;
    let Some(pod) = enter(setup, saved)? else {
        return Ok(Whereabouts::GonePod);
    };
    let failed = |source| KernelError::Link { device, source };
    let Some(link) = find(&pod, saved).await.map_err(failed)? else {
        return Ok(Whereabouts::Elsewhere);
    };
    let host = Netns::current().map_err(KernelError::Netns)?;
    let moved = move_out(&pod, &link, &host, name, saved).await;
    moved.map(|()| Whereabouts::Host).map_err(failed)
}

/// Whether the pod has a device that is stacked on this one, which is on the host: for kernels that cannot report it for all namespaces.
///
/// A device of the pod that names a link of another namespace with this index may be stacked on another device; that is rare, and no harm.
pub(super) async fn is_below_pod(
    setup: &Setup,
    saved: &SavedAttachmentV1,
    index: u32,
) -> Result<bool, KernelError> {
    let Some(pod) = enter(setup, saved)? else {
        return Ok(false);
    };
    let links = pod.links().await;
    let links = links.map_err(|source| KernelError::Link {
        device: saved.device,
        source,
    })?;
    let is_above = |link: &Link| link.lower == Some(index) && link.lower_netns.is_some();
    Ok(links.iter().any(is_above))
}

/// A socket in the namespace of the pod, if that is still the same.
fn enter(setup: &Setup, saved: &SavedAttachmentV1) -> Result<Option<Netlink>, KernelError> {
    let Ok(netns) = Netns::open(Path::new(&saved.netns.path)) else {
        return Ok(None);
    };
    let pod = Netlink::in_netns(&netns, setup.request_deadline)?;
    let is_same = saved.netns.is(netns.id(), pod.netns_cookie());
    Ok(Some(pod).filter(|_| is_same))
}

/// Looks for the name that the device got first: the list of all links of the pod is needed only when the pod renamed it.
async fn find(pod: &Netlink, saved: &SavedAttachmentV1) -> Result<Option<Link>, NetlinkError> {
    let named = pod.link_named(&saved.ifname).await?;
    if let Some(link) = named.filter(|link| saved.is_its_link(link)) {
        return Ok(Some(link));
    }
    let mut links = pod.links().await?.into_iter();
    Ok(links.find(|link| saved.is_its_link(link)))
}

/// The device leaves the pod in any case, even when its name or one of its alternative names is taken on the host.
async fn move_out(
    pod: &Netlink,
    link: &Link,
    host: &Netns,
    name: &IfName,
    saved: &SavedAttachmentV1,
) -> Result<(), NetlinkError> {
    let refused = match pod.move_link(link.index, host, name).await {
        Err(error) if error.errno() == Some(Errno::EEXIST) => error,
        done => return done,
    };
    // The kernel moves first and then renames (net/core/rtnetlink.c, `do_setlink`): if only the name is taken, the device has moved.
    let still = pod.link(link.index).await?;
    if still.is_none_or(|still| !saved.is_its_link(&still)) {
        return Ok(());
    }
    // It has not moved: an alternative name, or its name in the pod, is taken too.
    let Some(spare) = spare_name(saved.device) else {
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
