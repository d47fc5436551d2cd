//! The addresses and routes that an IPAM plugin assigned to the interface.

use ipnet::IpNet;
use sriov_host::netlink::Route;

/// Addresses and routes for the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Addresses with prefix length.
    pub(crate) ips: Vec<IpNet>,
    /// Routes.
    pub(crate) routes: Vec<Route>,
}
