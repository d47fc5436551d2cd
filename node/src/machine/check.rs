//! The rules of a machine file: every wrong value is reported, with its place and the rule.

use std::collections::BTreeMap;

use sriov_host::{IfName, PciAddress};

use super::file::{Function, Link, Machine, Port, Subfunction};
use super::names::{LINK_TYPES, PORT_STATES, is_path_part};

/// All mistakes of a machine.
pub(super) fn mistakes(machine: &Machine) -> Vec<String> {
    let mut found = Found::default();
    for (address, function) in &machine.functions {
        let place = format!("functions.{address}");
        match address.parse::<PciAddress>() {
            Err(error) => found.add("functions", &error.to_string()),
            Ok(parsed) if parsed.to_string() != *address => {
                let text = format!("`{address}` has another spelling than the kernel's `{parsed}`");
                found.add("functions", &text);
            }
            Ok(_) => {}
        }
        check_function(&mut found, machine, &place, function);
    }
    check_links(&mut found, machine, "interfaces", &machine.interfaces);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in machine.links() {
        *names.entry(name).or_default() += 1;
    }
    for (name, _) in names.iter().filter(|(_, count)| **count > 1) {
        let text = "two network devices of this file have this name";
        found.add(&format!("net.{name}"), text);
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn add(&mut self, place: &str, text: &str) {
        self.0.push(format!("{place}: {text}"));
    }

    /// Checks a text that becomes a part of a path.
    fn name(&mut self, place: &str, name: &str) {
        if !is_path_part(name) {
            let text = format!(
                "`{name}` is not a name: expected 1 to 127 bytes, not `.` or `..`, without `/` and control characters"
            );
            self.add(place, &text);
        }
    }

    fn names<'a>(&mut self, place: &str, key: &str, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            self.name(&format!("{place}.{key}"), name);
        }
    }
}

fn is_hexadecimal(text: &str, lengths: &[usize]) -> bool {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    lengths.contains(&text.len()) && text.chars().all(is_digit)
}

fn check_function(found: &mut Found, machine: &Machine, place: &str, function: &Function) {
    let Function {
        id,
        class,
        driver,
        physfn,
        sriov_totalvfs,
        virtfn,
        virtio,
        net,
        rdma,
        vdpa,
        subfunctions,
        files,
        ..
    } = function;
    let is_id = id.split_once(':').is_some_and(|(vendor, device)| {
        is_hexadecimal(vendor, &[4]) && is_hexadecimal(device, &[4])
    });
    if !is_id {
        let text = format!(
            "`{id}` is not a vendor and device id: expected `vvvv:dddd` in lower-case hexadecimal"
        );
        found.add(&format!("{place}.id"), &text);
    }
    if let Some(class) = class.as_ref().filter(|it| !is_hexadecimal(it, &[4, 6])) {
        let text = format!("`{class}` is not a class: expected four or six hexadecimal digits");
        found.add(&format!("{place}.class"), &text);
    }
    let drivers = driver.iter().chain(vdpa.values().flatten());
    found.names(place, "driver", drivers);
    found.names(place, "virtio", virtio);
    found.names(place, "vdpa", vdpa.keys());
    if let Some(pf) = physfn {
        let of_pf = machine.functions.get(pf);
        let is_pf = of_pf.is_some_and(|pf| pf.sriov_totalvfs.is_some());
        if !is_pf {
            let text = format!("`{pf}` is not a function of this file with `sriov_totalvfs`");
            found.add(&format!("{place}.physfn"), &text);
        }
    }
    if !virtfn.is_empty() && sriov_totalvfs.is_none() {
        found.add(
            &format!("{place}.virtfn"),
            "only a PF has these links: `sriov_totalvfs` is missing",
        );
    }
    found.names(place, "virtfn", virtfn.values());
    check_links(found, machine, &format!("{place}.net"), net);
    check_rdma(found, &format!("{place}.rdma"), rdma);
    check_subfunctions(found, machine, place, subfunctions);
    for path in files.keys() {
        if !path.split('/').all(is_path_part) {
            let text = format!("`{path}` is not a path below the function");
            found.add(&format!("{place}.files"), &text);
        }
    }
}

fn check_subfunctions(
    found: &mut Found,
    machine: &Machine,
    place: &str,
    subfunctions: &BTreeMap<String, Subfunction>,
) {
    for (name, subfunction) in subfunctions {
        let place = format!("{place}.subfunctions.{name}");
        if name.rsplit('.').nth(1) != Some("sf") {
            found.add(
                &place,
                "not the name of a subfunction: expected `DRIVER.sf.NUMBER`",
            );
        }
        found.name(&place, name);
        found.names(&place, "driver", &subfunction.driver);
        check_links(found, machine, &format!("{place}.net"), &subfunction.net);
        check_rdma(found, &format!("{place}.rdma"), &subfunction.rdma);
    }
}

fn check_links(found: &mut Found, machine: &Machine, place: &str, links: &BTreeMap<String, Link>) {
    for (name, link) in links {
        let place = format!("{place}.{name}");
        if let Err(error) = name.parse::<IfName>() {
            found.add(&place, &error.to_string());
        }
        let is_known = |kind: &String| {
            LINK_TYPES.iter().any(|(word, _)| word == kind) || kind.parse::<u16>().is_ok()
        };
        if let Some(kind) = link.kind.as_ref().filter(|kind| !is_known(kind)) {
            let text =
                format!("`{kind}` is not a link type: expected `ether`, `infiniband` or a number");
            found.add(&format!("{place}.type"), &text);
        }
        found.names(&place, "driver", &link.driver);
        found.names(&place, "altnames", &link.altnames);
        for (key, others) in [
            ("master", link.master.iter().collect::<Vec<_>>()),
            ("upper", link.upper.iter().collect()),
            ("shared_by", link.shared_by.iter().collect()),
        ] {
            for other in others {
                if !machine.links().any(|(name, _)| name == other) {
                    let text = format!("`{other}` is not a network device of this file");
                    found.add(&format!("{place}.{key}"), &text);
                }
            }
        }
    }
}

fn check_rdma(found: &mut Found, place: &str, rdma: &BTreeMap<String, Vec<Port>>) {
    for (name, ports) in rdma {
        let place = format!("{place}.{name}");
        found.name(&place, name);
        for port in ports {
            let state = port.state.as_deref().unwrap_or("ACTIVE");
            if !PORT_STATES.contains(&state) {
                let text = format!(
                    "`{state}` is not a state: expected one of {}",
                    PORT_STATES.join(", ")
                );
                found.add(&format!("{place}.state"), &text);
            }
        }
    }
}
