//! Addresses and routes of the interface in the pod, and their announcement.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use sriov_host::netlink::Link;

use super::error::KernelError;
use super::pod::Pod;
use super::target::Target;
use crate::model::Addresses;

/// Time that the link gets for its carrier before its addresses are announced.
const CARRIER: Duration = Duration::from_millis(200);
/// Time between two readings of the carrier.
const CARRIER_STEP: Duration = Duration::from_millis(10);

/// Sets addresses and routes of the network device, and announces the addresses on its segment.
///
/// # Errors
/// When the kernel refuses one of them.
pub(crate) async fn configure(
    target: &Target,
    pod: &Pod,
    link: &Link,
    addresses: &Addresses,
) -> Result<(), KernelError> {
    if addresses.ips.iter().any(|ip| ip.addr().is_ipv6()) {
        let name = &link.name;
        pod.write_sysctls(&[
            (format!("net/ipv6/conf/{name}/disable_ipv6"), "0"),
            (format!("net/ipv6/conf/{name}/keep_addr_on_down"), "1"),
        ])?;
    }
    let failed = |source| target.link_error(source);
    for address in &addresses.ips {
        let added = pod.netlink.add_address(link.index, *address).await;
        added.map_err(failed)?;
    }
    for route in &addresses.routes {
        let added = pod.netlink.add_route(link.index, route).await;
        added.map_err(failed)?;
    }
    // The attachment works without announcements: neighbours that miss one resolve the address when they need it.
    if let Err(error) = announce(pod, link, addresses).await {
        tracing::warn!(link = %link.name, %error, "cannot announce the addresses");
    }
    Ok(())
}

async fn announce(pod: &Pod, link: &Link, addresses: &Addresses) -> io::Result<()> {
    let ips = addresses.ips.iter().map(ipnet::IpNet::addr);
    let v4: Vec<Ipv4Addr> = ips.filter_map(as_v4).collect();
    let (Some(mac), false) = (link.mac, v4.is_empty()) else {
        return Ok(());
    };
    let announcer = pod
        .announcer
        .as_ref()
        .map_err(|error| io::Error::from(error.kind()))?;
    await_carrier(pod, link).await?;
    v4.into_iter()
        .try_for_each(|address| announcer.arp(link.index, mac, address))
}

async fn await_carrier(pod: &Pod, link: &Link) -> io::Result<()> {
    let deadline = Instant::now() + CARRIER;
    let mut has_carrier = link.has_carrier;
    while !has_carrier && Instant::now() < deadline {
        tokio::time::sleep(CARRIER_STEP).await;
        let read = pod.netlink.link(link.index).await;
        let read = read.map_err(io::Error::other)?;
        has_carrier = read.is_some_and(|link| link.has_carrier);
    }
    Ok(())
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
