//! Reads a machine from `sys` and `proc`, and from the kernel what these do not show, into the format.
//!
//! Attributes are captured as texts, so that a replay shows the reader what the machine showed it.

mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sriov_host::{HostRoot, PciAddress, query};

use self::links::Links;
use super::construct::virtfns;
use super::file::{Function, Machine, Port, Subfunction};
use super::names::PORT_STATES;
use crate::discover::recorded;

/// A machine could not be captured.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the devices in `{}`: is sysfs mounted?", path.display())]
pub struct CaptureError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A captured machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The machine, with the names and addresses that it has.
    pub machine: Machine,
    /// Devices that are missing in it, each with the reason.
    pub missing: Vec<String>,
}

/// Captures network functions, accelerators, and all that have to do with SR-IOV, with the network devices on top of them.
///
/// # Errors
/// When the list of devices cannot be read.
pub fn capture(host: &HostRoot) -> Result<Captured, CaptureError> {
    let path = host.join("sys/bus/pci/devices");
    let error = |source| CaptureError {
        path: path.clone(),
        source,
    };
    let mut links = Links::new(host);
    let mut machine = Machine {
        kernel: text(&host.join("proc/sys/kernel/osrelease")),
        ..Machine::default()
    };
    let mut missing = Vec::new();
    let entries = fs::read_dir(&path).map_err(error)?;
    let mut names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(error)?;
    names.sort();
    let subfunctions = subfunctions(host);
    for name in names {
        let dir = path.join(&name);
        if name.parse::<PciAddress>().is_err() || !is_of_interest(&dir) {
            continue;
        }
        let Some(mut function) = function(host, &mut links, &name, &dir) else {
            missing.push(format!("{name}: vendor, device or class cannot be read"));
            continue;
        };
        let own = subfunctions.iter().filter(|(_, pf)| *pf == name);
        for (subfunction, _) in own {
            let dir = dir.join(subfunction);
            if let Some(captured) = self::subfunction(&mut links, &dir) {
                function.subfunctions.insert(subfunction.clone(), captured);
            }
        }
        machine.functions.insert(name, function);
    }
    remove_orphans(&mut machine, &mut missing);
    forget_usual_links(&mut machine);
    machine.interfaces = links.interfaces();
    Ok(Captured { machine, missing })
}

/// Whether a function is or can be offered to pods, or may be needed to judge one.
fn is_of_interest(dir: &Path) -> bool {
    let class = text(&dir.join("class")).unwrap_or_default();
    let base = class.get(2..4).unwrap_or_default();
    // Network controllers, processors such as QAT, processing accelerators.
    matches!(base, "02" | "0b" | "12")
        || ["sriov_totalvfs", "physfn", "net", "infiniband"]
            .iter()
            .any(|name| fs::symlink_metadata(dir.join(name)).is_ok())
}

fn function(host: &HostRoot, links: &mut Links<'_>, address: &str, dir: &Path) -> Option<Function> {
    let number = |name: &str| {
        let text = text(&dir.join(name))?;
        text.strip_prefix("0x").map(str::to_owned)
    };
    let (vendor, device, class) = (number("vendor")?, number("device")?, number("class")?);
    let class = class.strip_suffix("00").unwrap_or(&class).to_owned();
    let iommu_group = link(dir, "iommu_group").and_then(|group| group.parse().ok());
    let virtio = child(dir, |name| numbered(name, "virtio"));
    let net = match &virtio {
        Some(virtio) => links.below(&dir.join(virtio).join("net")),
        None => links.below(&dir.join("net")),
    };
    let is_vf = fs::symlink_metadata(dir.join("physfn")).is_ok();
    let ddp_profile = if host.is_machine() {
        // Only a NIC can have one, and a VF shares that of its PF.
        let is_nic = class.starts_with("02") && !is_vf;
        let address = address.parse().ok().filter(|_| is_nic);
        address.and_then(|address| query::ddp_profile(address).ok().flatten())
    } else {
        recorded::ddp_profile(host, address.parse().ok()?)
    };
    let noiommu = text(&dir.join("iommu_group/name"));
    let mut function = Function {
        id: format!("{vendor}:{device}"),
        class: (class != "0200").then_some(class),
        driver: link(dir, "driver"),
        iommu_group,
        noiommu: noiommu.is_some_and(|name| name == "vfio-noiommu"),
        acpi_index: text(&dir.join("acpi_index")),
        ddp_profile,
        physfn: link(dir, "physfn"),
        virtio,
        net,
        rdma: rdma(dir),
        vdpa: vdpa(host, dir),
        ..Function::default()
    };
    for (attribute, place) in [
        ("sriov_totalvfs", &mut function.sriov_totalvfs),
        ("sriov_numvfs", &mut function.sriov_numvfs),
    ] {
        *place = text(&dir.join(attribute)).and_then(|text| text.parse().ok());
    }
    // The kernel reports -1 for no node.
    function.numa_node = text(&dir.join("numa_node")).and_then(|text| text.parse().ok());
    function.virtfn = names(dir)
        .filter_map(|name| {
            let index = name.strip_prefix("virtfn")?.parse().ok()?;
            Some((index, link(dir, &name)?))
        })
        .collect();
    Some(function)
}

fn subfunction(links: &mut Links<'_>, dir: &Path) -> Option<Subfunction> {
    Some(Subfunction {
        sfnum: text(&dir.join("sfnum"))?.parse().ok()?,
        driver: link(dir, "driver"),
        net: links.below(&dir.join("net")),
        rdma: rdma(dir),
    })
}

/// Names of all subfunctions, each with its function.
fn subfunctions(host: &HostRoot) -> Vec<(String, String)> {
    let bus = host.join("sys/bus/auxiliary/devices");
    let found = names(&bus).filter_map(|name| {
        let is_subfunction = name.rsplit('.').nth(1) == Some("sf");
        let target = fs::read_link(bus.join(&name)).ok()?;
        let above = target.parent()?.file_name()?.to_string_lossy().into_owned();
        is_subfunction.then_some((name, above))
    });
    let mut found: Vec<(String, String)> = found.collect();
    found.sort();
    found
}

fn rdma(dir: &Path) -> BTreeMap<String, Vec<Port>> {
    let all = dir.join("infiniband");
    let devices = names(&all).map(|name| {
        let ports = all.join(&name).join("ports");
        let numbers = (1..).map(|number: u32| ports.join(number.to_string()));
        let ports = numbers.take_while(|dir| dir.exists()).map(|dir| port(&dir));
        (name, ports.collect())
    });
    devices.collect()
}

fn port(dir: &Path) -> Port {
    let link_layer = text(&dir.join("link_layer"));
    // `4: ACTIVE`.
    let state = text(&dir.join("state"));
    let state = state.and_then(|state| Some(state.split_once(": ")?.1.to_owned()));
    let table = dir.join("pkeys");
    let numbers = (0..).map(|index: u32| text(&table.join(index.to_string())));
    let mut pkeys: Vec<String> = numbers.map_while(|pkey| pkey).collect();
    let used = pkeys.iter().rposition(|pkey| pkey != "0x0000");
    pkeys.truncate(used.map_or(0, |last| last + 1));
    Port {
        link_layer: link_layer.filter(|layer| layer != "Ethernet"),
        state: state.filter(|state| state != "ACTIVE" && PORT_STATES.contains(&state.as_str())),
        pkeys,
    }
}

fn vdpa(host: &HostRoot, dir: &Path) -> BTreeMap<String, Option<String>> {
    let bus = host.join("sys/bus/vdpa/devices");
    let own = names(&bus).filter(|name| dir.join(name).is_dir());
    own.map(|name| {
        let driver = link(&bus.join(&name), "driver");
        (name, driver)
    })
    .collect()
}

/// Removes VFs whose PF could not be read.
fn remove_orphans(machine: &mut Machine, missing: &mut Vec<String>) {
    let functions = machine.functions.iter();
    let pfs: BTreeSet<String> = functions
        .filter(|(_, function)| function.sriov_totalvfs.is_some())
        .map(|(address, _)| address.clone())
        .collect();
    machine.functions.retain(|address, function| {
        let orphan = function.physfn.as_ref().filter(|pf| !pfs.contains(*pf));
        missing.extend(orphan.map(|pf| format!("{address}: its PF {pf} cannot be read")));
        orphan.is_none()
    });
}

/// Removes what `construct` makes of the other keys.
fn forget_usual_links(machine: &mut Machine) {
    let functions = machine.functions.iter();
    let pfs = functions.filter(|(_, function)| function.sriov_totalvfs.is_some());
    let usual: Vec<(String, BTreeMap<u16, String>)> = pfs
        .map(|(address, function)| {
            let mut unnamed = function.clone();
            unnamed.virtfn.clear();
            (address.clone(), virtfns(machine, address, &unnamed))
        })
        .collect();
    for (address, usual) in usual {
        let Some(pf) = machine.functions.get_mut(&address) else {
            continue;
        };
        let count = u16::try_from(pf.virtfn.len()).ok();
        if pf.sriov_numvfs == count {
            pf.sriov_numvfs = None;
        }
        if pf.virtfn == usual {
            pf.virtfn.clear();
        }
    }
}

/// An attribute; absent if the kernel has none or refuses to report it.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// The last part of a link's target.
fn link(dir: &Path, name: &str) -> Option<String> {
    let target = fs::read_link(dir.join(name)).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn child(dir: &Path, is_it: impl Fn(&str) -> bool) -> Option<String> {
    names(dir).find(|name| is_it(name))
}

/// Whether a name is a word with a number behind it.
fn numbered(name: &str, word: &str) -> bool {
    let number = name.strip_prefix(word).unwrap_or_default();
    !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}
