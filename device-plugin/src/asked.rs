//! What the configuration asks of devices and sysfs does not tell: alternative names of PFs, DDP profiles. The kernel is asked, and only then.

use std::collections::BTreeSet;

use sriov_config::ResourceList;
use sriov_config::resources::NetSelector;
use sriov_host::snapshot::{HostSnapshot, PciFunction, SriovRole};
use sriov_host::{HostRoot, PciAddress, query};

/// Completes a scan; of a captured tree nobody can be asked.
pub fn complete(host: &HostRoot, snapshot: &mut HostSnapshot, config: &ResourceList) {
    if !host.is_machine() {
        return;
    }
    for name in unknown_names(snapshot, config) {
        match query::link_named(&name) {
            Ok(Some(index)) => learn(snapshot, index, &name),
            Ok(None) => {}
            Err(error) => tracing::debug!("cannot ask who has the name `{name}`: {error}"),
        }
    }
    for device in with_profiles(snapshot, config) {
        match query::ddp_profile(device) {
            Ok(profile) => snapshot
                .ddp_profiles
                .extend(profile.map(|profile| (device, profile))),
            Err(error) => tracing::debug!("cannot ask {device} for its DDP profile: {error}"),
        }
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
    let is_known = |name: &str| {
        let mut functions = snapshot.functions.values();
        functions.any(|function| {
            let mut netdevs = function.netdevs.iter();
            netdevs.any(|netdev| netdev.name.as_str().eq_ignore_ascii_case(name))
        })
    };
    let unknown = names.filter(|wanted| !is_known(&wanted.pf));
    unknown.map(|wanted| wanted.pf.clone()).collect()
}

fn learn(snapshot: &mut HostSnapshot, index: u32, name: &str) {
    let functions = snapshot.functions.values_mut();
    let mut netdevs = functions.flat_map(|PciFunction { netdevs, .. }| netdevs);
    let found = netdevs.find(|netdev| netdev.ifindex == index);
    // A PF that was taken over from the picture before may know it already.
    if let Some(netdev) = found.filter(|netdev| !netdev.altnames.iter().any(|known| known == name))
    {
        netdev.altnames.push(name.to_owned());
    }
}

/// The network functions that can have a DDP profile of their own: a VF shares that of its PF. None while no selector asks.
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
    use super::*;
    use crate::pools::tests::machine;

    fn config(selectors: &str) -> ResourceList {
        let text =
            format!(r#"{{"resourceList": [{{"resourceName": "a", "selectors": {selectors}}}]}}"#);
        ResourceList::parse(&text, "x.y").unwrap()
    }

    #[test]
    fn only_what_no_network_device_is_called_is_asked_for_and_belongs_to_one() {
        let mut snapshot = machine();
        let config = config(
            r#"[{"pfNames": ["PF1#0", "pf2"]}, {"pfNames": ["enp1s0np0#0", "enp1s0np0#2"]}]"#,
        );
        assert_eq!(
            unknown_names(&snapshot, &config),
            BTreeSet::from(["enp1s0np0".to_owned()])
        );
        for _ in 0..2 {
            learn(&mut snapshot, 1, "enp1s0np0");
        }
        let functions = snapshot.functions.values();
        let netdevs = functions.flat_map(|function| &function.netdevs);
        let names = netdevs.flat_map(|netdev| &netdev.altnames);
        assert_eq!(names.collect::<Vec<_>>(), ["enp1s0np0"]);
    }

    #[test]
    fn profiles_are_asked_for_when_a_selector_does_and_once_for_all_vfs() {
        let devices = |selectors| with_profiles(&machine(), &config(selectors)).len();
        assert_eq!(devices(r#"{"drivers": ["iavf"]}"#), 0);
        // Two PFs, and two NICs without SR-IOV.
        assert_eq!(
            devices(r#"[{"drivers": ["iavf"]}, {"ddpProfiles": ["ICE COMMS Package"]}]"#),
            4
        );
    }
}
