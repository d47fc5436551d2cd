//! Captures network devices: their attributes, the devices on top of them, and the use of each by the node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sriov_host::{HostRoot, query};

use super::{link, names, text};
use crate::discover::recorded;
use crate::discover::uplinks::{addresses, default_routes, shared_parents};
use crate::machine::file::{Link, State};
use crate::machine::names::LINK_TYPES;

/// The network devices that the kernel reports, and the names that were found on the way.
pub(super) struct Links<'a> {
    host: &'a HostRoot,
    default_routes: BTreeSet<String>,
    addresses: BTreeSet<String>,
    /// Parents of macvlan and ipvlan devices, each with one such device.
    parents: BTreeMap<String, String>,
    /// Alternative names by the device's name.
    altnames: BTreeMap<String, Vec<String>>,
    captured: BTreeSet<String>,
    /// Devices on top of captured ones.
    uppers: BTreeSet<String>,
}

impl<'a> Links<'a> {
    pub(super) fn new(host: &'a HostRoot) -> Self {
        let altnames = if host.is_machine() {
            query::altnames().unwrap_or_default()
        } else {
            recorded::pairs(host, recorded::ALTNAMES)
        };
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, altname) in altnames {
            by_name.entry(name).or_default().push(altname);
        }
        Self {
            host,
            default_routes: default_routes(host),
            addresses: addresses(host),
            parents: shared_parents(host),
            altnames: by_name,
            captured: BTreeSet::new(),
            uppers: BTreeSet::new(),
        }
    }

    /// The network devices below a directory `net`.
    pub(super) fn below(&mut self, net: &Path) -> BTreeMap<String, Link> {
        let mut links = BTreeMap::new();
        for name in names(net) {
            if let Some(link) = self.link(&name, &net.join(&name)) {
                links.insert(name, link);
            }
        }
        links
    }

    /// The devices on top of those that were captured, up to the last, and the virtual devices of Hyper-V.
    pub(super) fn interfaces(mut self) -> BTreeMap<String, Link> {
        let class = self.host.join("sys/class/net");
        let mut found = BTreeMap::new();
        let driver = |name: &str| link(&class.join(name), "device/driver");
        let hyper_v = names(&class).filter(|name| driver(name).as_deref() == Some("hv_netvsc"));
        self.uppers.extend(hyper_v);
        loop {
            let mut pending = self.uppers.difference(&self.captured);
            let Some(name) = pending.next().cloned() else {
                return found;
            };
            let dir = class.join(&name);
            let captured = self.link(&name, &dir).unwrap_or_default();
            self.captured.insert(name.clone());
            let driver = driver(&name);
            found.insert(name, Link { driver, ..captured });
        }
    }

    /// A network device; absent if it was removed.
    fn link(&mut self, name: &str, dir: &Path) -> Option<Link> {
        let kind = text(&dir.join("type"))?;
        let word = LINK_TYPES.iter().find(|(_, number)| *number == kind);
        let kind = word.map_or(kind.as_str(), |(word, _)| word).to_owned();
        let master = link(dir, "master");
        let mut upper: Vec<String> = names(dir)
            .filter_map(|name| name.strip_prefix("upper_").map(str::to_owned))
            .filter(|upper| Some(upper) != master.as_ref())
            .collect();
        upper.sort();
        self.uppers.extend(upper.iter().chain(&master).cloned());
        self.captured.insert(name.to_owned());
        let altnames = self.altnames.get(name).cloned();
        let child = self.parents.get(name);
        let dev_port = text(&dir.join("dev_port"));
        Some(Link {
            kind: (kind != "ether").then_some(kind),
            state: state(dir),
            address: text(&dir.join("address")),
            dev_port: dev_port.and_then(|port| port.parse().ok()).unwrap_or(0),
            phys_switch_id: text(&dir.join("phys_switch_id")),
            phys_port_name: text(&dir.join("phys_port_name")),
            altnames: altnames.unwrap_or_default(),
            master,
            shared_by: child.filter(|child| upper.contains(child)).cloned(),
            upper,
            driver: None,
            default_route: self.default_routes.contains(name),
            node_address: self.addresses.contains(name),
        })
    }
}

fn state(dir: &Path) -> State {
    let flags = text(&dir.join("flags")).unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
    if flags.is_ok_and(|flags| flags & 1 == 0) {
        return State::Down;
    }
    match text(&dir.join("carrier")).as_deref() {
        Some("0") => State::NoCarrier,
        Some(_) | None => State::Up,
    }
}
