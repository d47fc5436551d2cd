//! The network devices of a constructed machine: their attributes, what is stacked on what, their routes and addresses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConstructError, Tree};
use crate::machine::file::{Link, Machine, State};
use crate::machine::names::LINK_TYPES;

const CLASS: &str = "sys/class/net";

/// Writes network devices, with a new interface index for each.
pub(super) struct Links<'a> {
    tree: &'a Tree<'a>,
    machine: &'a Machine,
    /// Index 1 is that of the loopback device.
    last_index: u32,
    /// The directories so far, by the device's name.
    dirs: BTreeMap<&'a str, PathBuf>,
}

impl<'a> Links<'a> {
    pub(super) fn new(tree: &'a Tree<'a>, machine: &'a Machine) -> Self {
        Self {
            tree,
            machine,
            last_index: 1,
            dirs: BTreeMap::new(),
        }
    }

    /// Writes the network devices of a function or subfunction below `net`.
    pub(super) fn below(
        &mut self,
        net: &Path,
        links: &'a BTreeMap<String, Link>,
    ) -> Result<(), ConstructError> {
        for (name, link) in links {
            self.add(net.join(name), name, link)?;
        }
        Ok(())
    }

    /// Writes the network devices without a function.
    pub(super) fn interfaces(&mut self) -> Result<(), ConstructError> {
        let machine = self.machine;
        for (name, link) in &machine.interfaces {
            let dir = interface_dir(name);
            if let Some(driver) = &link.driver {
                let bus = if driver == "hv_netvsc" {
                    "vmbus"
                } else {
                    "platform"
                };
                let driver = Path::new("sys/bus").join(bus).join("drivers").join(driver);
                self.tree.directory(&driver)?;
                self.tree.link(dir.join("device/driver"), &driver)?;
            }
            self.add(dir, name, link)?;
        }
        self.stack()
    }

    fn add(&mut self, dir: PathBuf, name: &'a str, link: &Link) -> Result<(), ConstructError> {
        self.last_index += 1;
        let kind = link.kind.as_deref().unwrap_or("ether");
        let number = LINK_TYPES.iter().find(|(word, _)| *word == kind);
        // IFF_UP, IFF_BROADCAST and IFF_MULTICAST of `include/uapi/linux/if.h`.
        let (flags, carrier) = match link.state {
            State::Up => ("0x1003", Some("1")),
            State::NoCarrier => ("0x1003", Some("0")),
            // The kernel refuses to read the carrier of a device that is down.
            State::Down => ("0x1002", None),
        };
        let texts = [
            ("ifindex", Some(self.last_index.to_string())),
            (
                "type",
                Some(number.map_or(kind, |(_, number)| number).to_owned()),
            ),
            ("flags", Some(flags.to_owned())),
            ("carrier", carrier.map(str::to_owned)),
            ("dev_port", Some(link.dev_port.to_string())),
            ("address", link.address.clone()),
            ("phys_switch_id", link.phys_switch_id.clone()),
            ("phys_port_name", link.phys_port_name.clone()),
        ];
        for (attribute, text) in texts {
            if let Some(text) = text {
                self.tree.text(dir.join(attribute), text)?;
            }
        }
        self.tree.link(Path::new(CLASS).join(name), &dir)?;
        self.dirs.insert(name, dir);
        Ok(())
    }

    /// Links each device with the devices on top of it, in both directions (net/core/dev.c, `netdev_adjacent_sysfs_add`).
    fn stack(&self) -> Result<(), ConstructError> {
        let class = |name: &str| Path::new(CLASS).join(name);
        let dir = |name: &str| self.dirs.get(name).cloned().unwrap_or_default();
        for (name, link) in self.machine.links() {
            let own = dir(name);
            if let Some(master) = &link.master {
                self.tree.link(own.join("master"), &class(master))?;
            }
            for upper in link.master.iter().chain(&link.upper) {
                let from = own.join(format!("upper_{upper}"));
                self.tree.link(from, &class(upper))?;
                let from = dir(upper).join(format!("lower_{name}"));
                self.tree.link(from, &class(name))?;
            }
        }
        Ok(())
    }

    /// Writes default routes and addresses of IPv4 as `/proc/net/route` shows them; the addresses are of RFC 5737.
    pub(super) fn routes(&self) -> Result<(), ConstructError> {
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT";
        let mut lines = vec![head.to_owned()];
        for (name, link) in self.machine.links() {
            let route = |fields: &str| format!("{name}\t{fields}\t0\t0\t0");
            if link.default_route {
                lines.push(route("00000000\t010200C0\t0003\t0\t0\t0\t00000000"));
            }
            if link.node_address {
                lines.push(route("000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF"));
            }
        }
        self.tree.text("proc/net/route".into(), lines.join("\n"))
    }
}

fn interface_dir(name: &str) -> PathBuf {
    Path::new("sys/devices/virtual/net").join(name)
}
