//! Adds what sysfs does not show: queries netlink for alternative names of PFs and devlink for DDP profiles, if a selector needs them.

use std::collections::BTreeSet;
use std::io;

use sriov_config::ResourceList;
use sriov_config::resource_list::NetSelector;
use sriov_host::snapshot::{HostSnapshot, PciFunction, SriovRole};
use sriov_host::{HostRoot, PciAddress, query};

use super::recorded;

/// Adds the facts that selectors of the configuration need; a constructed machine has no kernel to query, and may have its answers as files.
pub(super) fn enrich(host: &HostRoot, snapshot: &mut HostSnapshot, config: &ResourceList) {
    for name in unknown_names(snapshot, config) {
        match link_named(host, &name) {
            Ok(Some(link)) => add_altname(snapshot, &link, &name),
            Ok(None) => {}
            Err(error) => tracing::debug!("cannot query which link has the name `{name}`: {error}"),
        }
    }
    for device in with_profiles(snapshot, config) {
        match ddp_profile(host, device) {
            Ok(profile) => snapshot
                .ddp_profiles
                .extend(profile.map(|profile| (device, profile))),
            Err(error) => tracing::debug!("cannot query the DDP profile of {device}: {error}"),
        }
    }
}

/// A network device, as the kernel or a file identifies it.
enum Link {
    Index(u32),
    Name(String),
}

fn link_named(host: &HostRoot, name: &str) -> io::Result<Option<Link>> {
    if host.is_machine() {
        Ok(query::link_named(name)?.map(Link::Index))
    } else {
        Ok(recorded::link_named(host, name).map(Link::Name))
    }
}

fn ddp_profile(host: &HostRoot, device: PciAddress) -> io::Result<Option<String>> {
    if host.is_machine() {
        query::ddp_profile(device)
    } else {
        Ok(recorded::ddp_profile(host, device))
    }
}

fn selectors(config: &ResourceList) -> impl Iterator<Item = &NetSelector> {
    let selectors = config
        .resources
        .iter()
        .flat_map(|resource| &resource.selectors);
    selectors.map(|selector| &selector.net)
}

/// The names in `pfNames` that no network device of a function has.
fn unknown_names(snapshot: &HostSnapshot, config: &ResourceList) -> BTreeSet<String> {
    let names = selectors(config).flat_map(|selector| &selector.pf_names);
    let unknown = names.filter(|wanted| !has_netdev(snapshot, &wanted.pf));
    unknown.map(|wanted| wanted.pf.clone()).collect()
}

fn has_netdev(snapshot: &HostSnapshot, name: &str) -> bool {
    let functions = snapshot.functions.values();
    let mut netdevs = functions.flat_map(|function| &function.netdevs);
    netdevs.any(|netdev| netdev.name.as_str().eq_ignore_ascii_case(name))
}

fn add_altname(snapshot: &mut HostSnapshot, link: &Link, name: &str) {
    let functions = snapshot.functions.values_mut();
    let mut netdevs = functions.flat_map(|PciFunction { netdevs, .. }| netdevs);
    let found = netdevs.find(|netdev| match link {
        Link::Index(index) => netdev.ifindex == *index,
        Link::Name(name) => netdev.name.as_str() == name,
    });
    // A PF that was kept from the previous snapshot may have it already.
    if let Some(netdev) = found.filter(|netdev| !netdev.altnames.iter().any(|known| known == name))
    {
        netdev.altnames.push(name.to_owned());
    }
}

/// The network functions that can have a DDP profile of their own (a VF shares that of its PF); none while no selector has `ddpProfiles`.
fn with_profiles(snapshot: &HostSnapshot, config: &ResourceList) -> Vec<PciAddress> {
    if selectors(config).all(|selector| selector.ddp_profiles.is_empty()) {
        return Vec::new();
    }
    let functions = snapshot.functions.values();
    let base = functions.filter(|function| {
        function.class.base() == 0x02 && !matches!(function.role, SriovRole::Vf { .. })
    });
    base.map(|function| function.address).collect()
}

#[cfg(test)]
mod tests {
    use sriov_host::snapshot::Netdev;

    use super::*;

    fn config(selectors: &str) -> ResourceList {
        let text =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        ResourceList::parse(&text, "x.y").unwrap()
    }

    fn function(address: &str, netdev: Option<&str>, role: SriovRole) -> PciFunction {
        let netdev = netdev.map(|name| Netdev::example(name.parse().unwrap()));
        PciFunction {
            role,
            netdevs: netdev.into_iter().collect(),
            ..PciFunction::example(address.parse().unwrap())
        }
    }

    /// A PF with a VF, and a NIC without SR-IOV.
    fn machine() -> HostSnapshot {
        let pf = "0000:01:00.0".parse().unwrap();
        let index = None;
        let functions = [
            function("0000:01:00.0", Some("pf1"), SriovRole::None),
            function("0000:01:10.0", None, SriovRole::Vf { pf, index }),
            function("0000:02:00.0", Some("eth0"), SriovRole::None),
        ];
        let functions = functions.map(|function| (function.address, function));
        HostSnapshot {
            functions: functions.into(),
            ..HostSnapshot::default()
        }
    }

    #[test]
    fn a_name_that_no_netdev_has_is_queried_and_added_once() {
        let mut snapshot = machine();
        let config = config(
            r#"[{"pfNames": ["PF1#0", "eth0"]}, {"pfNames": ["enp1s0np0#0", "enp1s0np0#2"]}]"#,
        );
        assert_eq!(
            unknown_names(&snapshot, &config),
            BTreeSet::from(["enp1s0np0".to_owned()])
        );
        for _ in 0..2 {
            add_altname(&mut snapshot, &Link::Index(1), "enp1s0np0");
        }
        let functions = snapshot.functions.values();
        let netdevs = functions.flat_map(|function| &function.netdevs);
        let names = netdevs.flat_map(|netdev| &netdev.altnames);
        assert_eq!(names.collect::<Vec<_>>(), ["enp1s0np0"]);
    }

    #[test]
    fn profiles_are_queried_if_a_selector_needs_them() {
        let devices = |selectors| with_profiles(&machine(), &config(selectors)).len();
        assert_eq!(devices(r#"{"drivers": ["iavf"]}"#), 0);
        // Not of the VF.
        assert_eq!(
            devices(r#"[{"drivers": ["iavf"]}, {"ddpProfiles": ["ICE COMMS Package"]}]"#),
            2
        );
    }
}
