//! PFs that the configuration calls by an alternative name: sysfs does not know it, the kernel is asked.

use std::collections::BTreeSet;

use sriov_config::ResourceList;
use sriov_host::snapshot::{HostSnapshot, PciFunction};
use sriov_host::{HostRoot, query};

/// Gives the network devices of functions those of their alternative names that the configuration uses.
///
/// One request for each name that no network device has; of a captured tree nobody can be asked.
pub fn resolve(host: &HostRoot, snapshot: &mut HostSnapshot, config: &ResourceList) {
    if !host.is_machine() {
        return;
    }
    for name in unknown(snapshot, config) {
        match query::link_named(&name) {
            Ok(Some(index)) => learn(snapshot, index, &name),
            Ok(None) => {}
            Err(error) => tracing::debug!("cannot ask who has the name `{name}`: {error}"),
        }
    }
}

/// The names in `pfNames` that no network device of a function has.
fn unknown(snapshot: &HostSnapshot, config: &ResourceList) -> BTreeSet<String> {
    let selectors = config
        .resources
        .iter()
        .flat_map(|resource| &resource.selectors);
    let names = selectors.flat_map(|selector| &selector.net.pf_names);
    let is_known = |name: &str| {
        let netdevs = snapshot
            .functions
            .values()
            .flat_map(|function| &function.netdevs);
        netdevs
            .into_iter()
            .any(|netdev| netdev.name.as_str().eq_ignore_ascii_case(name))
    };
    let unknown = names.filter(|wanted| !is_known(&wanted.pf));
    unknown.map(|wanted| wanted.pf.clone()).collect()
}

fn learn(snapshot: &mut HostSnapshot, index: u32, name: &str) {
    let functions = snapshot.functions.values_mut();
    let mut netdevs = functions.flat_map(|PciFunction { netdevs, .. }| netdevs);
    if let Some(netdev) = netdevs.find(|netdev| netdev.ifindex == index) {
        netdev.altnames.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::tests::machine;

    #[test]
    fn only_what_no_network_device_is_called_is_asked_for_and_belongs_to_one() {
        let mut snapshot = machine();
        let text = r#"{"resourceList": [{"resourceName": "a", "selectors": [{"pfNames": ["PF1#0", "pf2"]}, {"pfNames": ["enp1s0np0#0", "enp1s0np0#2"]}]}]}"#;
        let config = ResourceList::parse(text, "x.y").unwrap();
        assert_eq!(
            unknown(&snapshot, &config),
            BTreeSet::from(["enp1s0np0".to_owned()])
        );
        learn(&mut snapshot, 1, "enp1s0np0");
        let functions = snapshot.functions.values();
        let named = functions.filter(|function| {
            function
                .netdevs
                .iter()
                .any(|netdev| !netdev.altnames.is_empty())
        });
        assert_eq!(named.count(), 1);
    }
}
