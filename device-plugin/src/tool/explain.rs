//! `explain`: why a device is in a pool or in none, and which devices a resource has and has not.

use std::fmt::Write;

use sriov_config::resources::{Resource, Selector};
use sriov_host::snapshot::{PciFunction, SriovRole};
use sriov_host::{PciAddress, sysfs};

use super::check_config::count;
use super::inventory::netdev;
use super::table::{Paint, Tone};
use super::{Node, Verdict};
use crate::pools::matching::matches;
use crate::pools::{LeftOut, Pool, is_of_class};

/// Explains a PCI address or a resource, with or without its prefix.
pub(super) fn subject(node: &Node, subject: &str, paint: Paint) -> (String, Verdict) {
    if let Ok(address) = subject.parse::<PciAddress>() {
        return match node.snapshot.function(address) {
            Some(function) => device(node, function, paint),
            None => (
                format!("{address}: this machine has no such device\n"),
                Verdict::Bad,
            ),
        };
    }
    let is_meant = |name: &str| {
        name == subject
            || name
                .split_once('/')
                .is_some_and(|(_, name)| name == subject)
    };
    let mut pools = node.pools.pools.iter();
    if let Some(found) = pools.find(|pool| is_meant(&pool.resource.name.to_string())) {
        return (
            pool(node, found, paint) + &others(node, &found.resource),
            Verdict::Good,
        );
    }
    for unusable in &node.list.unusable {
        if let Some(name) = unusable
            .name
            .as_ref()
            .filter(|name| is_meant(&name.to_string()))
        {
            let word = paint.tone(Tone::Bad, "not served");
            return (
                format!("{name}: {word}: {}\n", unusable.mistakes),
                Verdict::Bad,
            );
        }
    }
    (
        format!(
            "`{subject}` is neither a PCI address like 0000:01:10.0 nor a resource of the configuration\n"
        ),
        Verdict::Bad,
    )
}

/// A pool with its devices.
pub(super) fn pool(node: &Node, pool: &Pool, paint: Paint) -> String {
    let number = count(pool.devices.len(), "device");
    let tone = if pool.devices.is_empty() {
        Tone::Odd
    } else {
        Tone::Good
    };
    let mut text = format!("{}: {}\n", pool.resource.name, paint.tone(tone, &number));
    for device in &pool.devices {
        let facts = node
            .snapshot
            .function(device.address)
            .map(|function| facts(node, function));
        let holders = node.owners.holders(&device.address.to_string());
        let holders = holders.iter().map(|holder| format!(", held by {holder}"));
        let _ = writeln!(
            text,
            "  {}: {}{}",
            device.address,
            facts.unwrap_or_default(),
            holders.collect::<Vec<_>>().concat()
        );
    }
    text
}

/// The devices of its class that a resource does not have, and why.
fn others(node: &Node, resource: &Resource) -> String {
    let of_class = node
        .snapshot
        .functions
        .values()
        .filter(|function| is_of_class(function, resource));
    let mut text = String::new();
    for function in of_class {
        let why = match (
            holding(node, function),
            node.pools.left_out.get(&function.address),
        ) {
            (Some(pool), _) if pool.resource.name == resource.name => continue,
            (Some(pool), _) if is_chosen(node, function, resource) => {
                format!("{} comes first and has it", pool.resource.name)
            }
            (None, Some(why @ (LeftOut::Uplink | LeftOut::PfWithVfs | LeftOut::NoDriver))) => {
                why.to_string()
            }
            (Some(_) | None, _) => nearest(node, function, resource),
        };
        let _ = writeln!(text, "  not {}: {why}", function.address);
    }
    text
}

fn device(node: &Node, function: &PciFunction, paint: Paint) -> (String, Verdict) {
    let address = function.address;
    let home = holding(node, function);
    let left_out = node.pools.left_out.get(&address);
    let verdict = match (home, left_out) {
        (Some(pool), _) => paint.tone(Tone::Good, &format!("is in {}", pool.resource.name)),
        (None, Some(why)) => paint.tone(Tone::Odd, &format!("is in no pool: {why}")),
        (None, None) => paint.tone(
            Tone::Odd,
            "is in no pool: no resource is for its class of device",
        ),
    };
    let mut text = format!("{address} {verdict}\n  {}\n", facts(node, function));
    for holder in node.owners.holders(&address.to_string()) {
        let _ = writeln!(text, "  held by {holder} as {}", holder.resource);
    }
    for finding in node.owners.findings(address) {
        let _ = writeln!(text, "  {}", paint.tone(Tone::Bad, &finding.to_string()));
    }
    for pool in &node.pools.pools {
        let resource = &pool.resource;
        let why = if !is_of_class(function, resource) {
            format!("it is for {}", resource.device_type)
        } else if is_chosen(node, function, resource) {
            match home {
                Some(home) if home.resource.name != resource.name => {
                    format!("would have it, but {} comes first", home.resource.name)
                }
                Some(_) | None => "its selectors match".to_owned(),
            }
        } else {
            nearest(node, function, resource)
        };
        let _ = writeln!(text, "  {}: {why}", resource.name);
    }
    (text, Verdict::Good)
}

fn holding<'a>(node: &'a Node, function: &PciFunction) -> Option<&'a Pool> {
    let has = |pool: &&Pool| {
        pool.devices
            .iter()
            .any(|device| device.address == function.address)
    };
    node.pools.pools.iter().find(has)
}

fn is_chosen(node: &Node, function: &PciFunction, resource: &Resource) -> bool {
    let mut selectors = resource.selectors.iter();
    selectors.any(|selector| matches(&node.snapshot, function, selector))
}

/// What the selector that fails least asks for and the device has not.
fn nearest(node: &Node, function: &PciFunction, resource: &Resource) -> String {
    let failing = |selector: &Selector| -> Vec<String> {
        let conditions = selector.conditions().into_iter();
        conditions
            .filter(|(_, _, only)| !matches(&node.snapshot, function, only))
            .map(|(key, asked, _)| format!("{key} asks for {asked}"))
            .collect()
    };
    let all = resource.selectors.iter().map(failing).enumerate();
    let Some((position, failing)) = all.min_by_key(|(_, failing)| failing.len()) else {
        return "it has no selector".to_owned();
    };
    let which = if resource.selectors.len() > 1 {
        format!("selectors[{position}]: ")
    } else {
        String::new()
    };
    format!("{which}{}", failing.join("; "))
}

/// What a device is, in one line.
fn facts(node: &Node, function: &PciFunction) -> String {
    let mut facts = vec![format!(
        "{} {}:{}",
        sysfs::class_name(function.class),
        function.vendor,
        function.device
    )];
    let pf = node.snapshot.pf_of(function);
    match &function.role {
        SriovRole::Pf { total_vfs, vfs } => {
            facts.push(format!("PF with {} of {total_vfs} VFs", vfs.len()));
        }
        SriovRole::Vf { pf: address, index } => {
            let name = pf
                .and_then(netdev)
                .map(|name| format!(" ({name})"))
                .unwrap_or_default();
            let index = index.map(|index| format!(" {index}")).unwrap_or_default();
            facts.push(format!("VF{index} of {address}{name}"));
        }
        SriovRole::None => {}
    }
    facts.push(function.driver.as_ref().map_or_else(
        || "no driver".to_owned(),
        |driver| format!("driver {driver}"),
    ));
    facts.extend(function.numa_node.map(|node| format!("NUMA node {node}")));
    for netdev in &function.netdevs {
        let state = match (netdev.is_up, netdev.carrier) {
            (Some(false), _) => " (down)",
            (Some(true), Some(false)) => " (without carrier)",
            (Some(true), Some(true) | None) | (None, _) => "",
        };
        let is_uplink = node.uplinks.contains(netdev.name.as_str());
        let route = if is_uplink {
            " with the default route"
        } else {
            ""
        };
        facts.push(format!(
            "{} {}{state}{route}",
            netdev.link_type, netdev.name
        ));
    }
    facts.extend(
        function
            .acpi_index
            .iter()
            .map(|index| format!("ACPI index {index}")),
    );
    facts.extend(function.rdma.iter().map(|name| format!("RDMA {name}")));
    facts.extend(
        function
            .pkey
            .iter()
            .map(|pkey| format!("partition key {pkey}")),
    );
    facts.extend(function.vdpa.iter().map(|vdpa| {
        let driver = vdpa.driver.as_deref().unwrap_or("no driver");
        format!("vDPA {} ({driver})", vdpa.name)
    }));
    facts.join(", ")
}
