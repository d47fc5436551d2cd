//! The pod's network namespace, with a netlink socket in it.

use std::path::Path;

use sriov_host::IfName;
use sriov_host::netlink::{Link, Netlink};
use sriov_host::netns::{self, Netns};

use super::error::KernelError;
use crate::setup::Setup;

/// The pod's network namespace with a socket in it, and which index was free there before.
#[derive(Debug)]
pub(crate) struct Pod {
    /// The namespace.
    pub(crate) netns: Netns,
    /// The socket.
    pub(crate) netlink: Netlink,
    /// Index of the network device, if no link of the pod had that index.
    pub(super) free_index: Option<u32>,
}

/// Opens a network namespace.
///
/// # Errors
/// [`KernelError::Netns`].
pub(crate) fn open_netns(path: &Path) -> Result<Netns, KernelError> {
    Netns::open(path).map_err(KernelError::Netns)
}

/// Opens the network namespace of a pod, which is not the host's own unless the caller allows it.
///
/// # Errors
/// [`KernelError::Netns`], [`KernelError::HostNetns`].
pub(crate) fn open_pod_netns(path: &Path, allows_host: bool) -> Result<Netns, KernelError> {
    let netns = open_netns(path)?;
    let own = Netns::current().map_err(KernelError::Netns)?;
    if netns.id() == own.id() && !allows_host {
        return Err(KernelError::HostNetns(path.to_owned()));
    }
    Ok(netns)
}

impl Pod {
    /// Enters the namespace once, for all that is needed from it: the socket, and whether name and index are free.
    ///
    /// # Errors
    /// [`KernelError::NameTaken`], [`KernelError::Open`], [`KernelError::PodLinks`].
    pub(super) async fn enter(
        setup: &Setup,
        netns: Netns,
        ifname: &IfName,
        link: &Link,
    ) -> Result<Self, KernelError> {
        let inspect = || Some(link.index).filter(|index| !netns::has_index(*index));
        let (netlink, free_index) =
            Netlink::in_netns_with(&netns, setup.request_deadline, inspect)?;
        // Not by SIOCGIFINDEX: for a name without a link, the kernel loads the module of this name.
        let taken = netlink.link_named(ifname).await;
        if taken.map_err(KernelError::PodLinks)?.is_some() {
            return Err(KernelError::NameTaken(ifname.clone()));
        }
        Ok(Self {
            netns,
            netlink,
            free_index,
        })
    }

    /// Writes kernel settings; a setting that cannot be written does not fail the attachment, because IPv6 may be switched off.
    ///
    /// # Errors
    /// [`KernelError::Netns`] when the namespace cannot be entered.
    pub(super) fn write_sysctls(&self, settings: &[(String, &str)]) -> Result<(), KernelError> {
        let problems = self.netns.write_sysctls(settings);
        for problem in problems.map_err(KernelError::Netns)? {
            tracing::debug!(%problem, "a kernel setting of the pod was not written");
        }
        Ok(())
    }
}
