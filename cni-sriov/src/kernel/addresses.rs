//! Addresses and routes of the interface in the pod, and their announcement.

use std::io;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use sriov_host::netlink::{Announcer, Link};

use super::error::KernelError;
use super::pod::Pod;
use super::target::Target;
use crate::model::Addresses;

/// Time that the link gets for its carrier before this program announces an address.
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

/// Announces the IPv4 addresses.
///
/// The link has no carrier yet, or has it only for a moment: the kernel announces an address now and in the next seconds, and nothing waits for it.
/// For a further address of a subnet the kernel would take the first one as the sender: this program announces such an address, when the link has its carrier.
async fn announce(pod: &Pod, link: &Link, addresses: &Addresses) -> io::Result<()> {
    let (first, further) = by_subnet(&addresses.ips);
    for address in first {
        let resolved = pod.netlink.resolve(link.index, address.addr()).await;
        resolved.map_err(io::Error::other)?;
    }
    let (Some(mac), false) = (link.mac, further.is_empty()) else {
        return Ok(());
    };
    // Only here: the kernel takes many milliseconds to close a packet socket (`packet_release`, net/packet/af_packet.c).
    let announcer = pod.netns.run(Announcer::open).map_err(io::Error::other)??;
    await_carrier(pod, link).await?;
    further
        .into_iter()
        .try_for_each(|address| announcer.arp(link.index, mac, address.addr()))
}

/// The IPv4 addresses that are in no subnet of an earlier one, and the others.
fn by_subnet(ips: &[IpNet]) -> (Vec<Ipv4Net>, Vec<Ipv4Net>) {
    let v4 = ips.iter().filter_map(|ip| match ip {
        IpNet::V4(ip) => Some(*ip),
        IpNet::V6(_) => None,
    });
    let (mut first, mut further): (Vec<Ipv4Net>, Vec<Ipv4Net>) = (Vec::new(), Vec::new());
    for ip in v4 {
        let mut earlier = first.iter().chain(&further);
        if earlier.any(|earlier| earlier.contains(&ip.addr())) {
            further.push(ip);
        } else {
            first.push(ip);
        }
    }
    (first, further)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_address_of_a_subnet_is_announced_here() {
        let ips = [
            "192.0.2.10/24",
            "2001:db8::10/64",
            "192.0.2.11/24",
            "198.51.100.7/32",
            "192.0.3.10/24",
            "192.0.2.12/32",
        ];
        let ips = ips.map(|ip| ip.parse().unwrap());
        let texts =
            |ips: Vec<Ipv4Net>| -> Vec<String> { ips.iter().map(ToString::to_string).collect() };
        let (first, further) = by_subnet(&ips);
        assert_eq!(
            texts(first),
            ["192.0.2.10/24", "198.51.100.7/32", "192.0.3.10/24"]
        );
        assert_eq!(texts(further), ["192.0.2.11/24", "192.0.2.12/32"]);
    }
}
