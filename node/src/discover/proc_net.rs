//! Reads default routes and addresses from `/proc/net`: for captured trees, and where the kernel refuses a query.
//!
//! `/proc/net` shows the main table of IPv4 only, and addresses of IPv4 only by the routes to their subnets.

use std::collections::BTreeSet;
use std::fs;

use sriov_host::HostRoot;

/// Names of the network devices with a default route.
pub(super) fn default_routes(host: &HostRoot) -> BTreeSet<String> {
    let is_default = |route: &&Route<'_>| [route.destination, route.mask] == ["00000000"; 2];
    let v4 = read(host, "route");
    let v4 = routes(&v4).filter(|route| is_default(&route));
    let v6 = read(host, "ipv6_route");
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, "00", .., device] = fields.as_slice() else {
            return None;
        };
        // The kernel's own reject route is on `lo`.
        (destination.bytes().all(|b| b == b'0') && *device != "lo").then_some(*device)
    });
    let v4 = v4.map(|route| route.device);
    v4.chain(v6).map(str::to_owned).collect()
}

/// Names of the network devices with an address that is valid beyond its link.
pub(super) fn addresses(host: &HostRoot) -> BTreeSet<String> {
    let v4 = read(host, "route");
    let v4 = routes(&v4).filter(Route::is_to_subnet);
    let v6 = read(host, "if_inet6");
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, scope, _, device] = fields.as_slice() else {
            return None;
        };
        // include/net/ipv6.h, `IPV6_ADDR_LOOPBACK`, `IPV6_ADDR_LINKLOCAL`.
        (!["10", "20"].contains(scope)).then_some(*device)
    });
    let v4 = v4.map(|route| route.device);
    v4.chain(v6).map(str::to_owned).collect()
}

fn read(host: &HostRoot, file: &str) -> String {
    fs::read_to_string(host.join("proc/net").join(file)).unwrap_or_default()
}

/// A line of `/proc/net/route`; addresses are numbers in the machine's byte order.
struct Route<'a> {
    device: &'a str,
    destination: &'a str,
    gateway: &'a str,
    mask: &'a str,
}

impl Route<'_> {
    /// Whether the kernel made it for an address, other than those of RFC 3927 (169.254.0.0/16).
    fn is_to_subnet(&self) -> bool {
        let destination = u32::from_str_radix(self.destination, 16).unwrap_or_default();
        let [first, second, ..] = destination.to_ne_bytes();
        self.gateway == "00000000" && destination != 0 && [first, second] != [169, 254]
    }
}

/// The routes of `/proc/net/route`: device, destination, gateway, flags, three numbers, mask, and more.
fn routes(text: &str) -> impl Iterator<Item = Route<'_>> {
    text.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, destination, gateway, _, _, _, _, mask, ..] = *fields.as_slice() else {
            return None;
        };
        Some(Route {
            device,
            destination,
            gateway,
            mask,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_of_both_families_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("proc/net");
        fs::create_dir_all(&net).unwrap();
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nbond0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth9\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        fs::write(net.join("route"), v4).unwrap();
        fs::write(net.join("ipv6_route"), v6).unwrap();
        let found = default_routes(&HostRoot::new(dir.path()));
        assert_eq!(found, ["bond0", "eth1"].map(str::to_owned).into());
        let found = addresses(&HostRoot::new(dir.path()));
        assert_eq!(found, ["eth9"].map(str::to_owned).into());
    }
}
