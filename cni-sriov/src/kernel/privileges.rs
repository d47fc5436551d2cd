//! Whether this process may change network devices and enter network namespaces.

use sriov_host::netlink::Netlink;
use sriov_host::netns::Netns;

use super::error::KernelError;
use crate::setup::Setup;

/// Checks `CAP_NET_ADMIN` by a request that changes nothing, and `CAP_SYS_ADMIN` by entering the own network namespace.
///
/// # Errors
/// [`KernelError::Privilege`], [`KernelError::Netns`], [`KernelError::Open`].
pub(crate) async fn ensure_privileges(setup: &Setup) -> Result<(), KernelError> {
    let own = Netns::current().map_err(KernelError::Netns)?;
    let netlink = Netlink::in_netns(&own, setup.request_deadline)?;
    netlink.probe().await.map_err(KernelError::Privilege)
}
