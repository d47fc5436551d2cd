//! A device in the answers of the subcommands, a PCI function or a subfunction, with its facts in one line.

use sriov_host::snapshot::{Netdev, PciFunction, SriovRole, Subfunction};
use sriov_host::sysfs;
use sriov_inventory::candidate::Candidate;
use sriov_inventory::id::DeviceId;
use sriov_inventory::node_use::Purpose;

use super::NodeView;

#[derive(Clone, Copy, Debug)]
pub(super) enum Device<'a> {
    Function(&'a PciFunction),
    Subfunction(&'a Subfunction),
}

impl<'a> Device<'a> {
    /// The device with this id.
    pub(super) fn find(node: &'a NodeView, id: &DeviceId) -> Option<Self> {
        match id {
            DeviceId::Function(address) => node.snapshot().function(*address).map(Self::Function),
            DeviceId::Subfunction(name) => node
                .snapshot()
                .subfunctions
                .get(name)
                .map(Self::Subfunction),
        }
    }

    pub(super) fn all(node: &'a NodeView) -> impl Iterator<Item = Self> {
        let functions = node.snapshot().functions.values().map(Self::Function);
        let subfunctions = node.snapshot().subfunctions.values().map(Self::Subfunction);
        functions.chain(subfunctions)
    }

    pub(super) fn id(self) -> DeviceId {
        match self {
            Self::Function(function) => DeviceId::Function(function.address),
            Self::Subfunction(subfunction) => DeviceId::Subfunction(subfunction.name.clone()),
        }
    }

    /// As selectors see it; nothing for a subfunction without its PF.
    pub(super) fn candidate(self, node: &'a NodeView) -> Option<Candidate<'a>> {
        match self {
            Self::Function(function) => Some(Candidate::function(node.snapshot(), function)),
            Self::Subfunction(subfunction) => Candidate::subfunction(node.snapshot(), subfunction),
        }
    }

    pub(super) fn driver(self) -> Option<&'a str> {
        match self {
            Self::Function(function) => function.driver.as_deref(),
            Self::Subfunction(subfunction) => subfunction.driver.as_deref(),
        }
    }

    pub(super) fn netdevs(self) -> &'a [Netdev] {
        match self {
            Self::Function(function) => &function.netdevs,
            Self::Subfunction(subfunction) => &subfunction.netdevs,
        }
    }

    pub(super) fn rdma(self) -> &'a [String] {
        match self {
            Self::Function(function) => &function.rdma,
            Self::Subfunction(subfunction) => &subfunction.rdma,
        }
    }

    /// The function itself, or the PF that a subfunction is a part of.
    fn hardware(self, node: &'a NodeView) -> Option<&'a PciFunction> {
        match self {
            Self::Function(function) => Some(function),
            Self::Subfunction(subfunction) => node.snapshot().function(subfunction.pf),
        }
    }

    /// Its facts, in one line.
    pub(super) fn facts(self, node: &NodeView) -> String {
        let hardware = self.hardware(node);
        let mut facts = Vec::new();
        if let Some(hardware) = hardware {
            let class = sysfs::class_name(hardware.class);
            facts.push(format!("{class} {}:{}", hardware.vendor, hardware.device));
        }
        facts.extend(self.role(node));
        facts.push(self.driver().map_or_else(
            || "no driver".to_owned(),
            |driver| format!("driver {driver}"),
        ));
        let numa_node = hardware.and_then(|hardware| hardware.numa_node);
        facts.extend(numa_node.map(|node| format!("NUMA node {node}")));
        let links = self.netdevs().iter().map(|netdev| link(node, netdev));
        facts.extend(links);
        let function = match self {
            Self::Function(function) => Some(function),
            Self::Subfunction(_) => None,
        };
        let acpi_index = function.and_then(|function| function.acpi_index.as_ref());
        facts.extend(acpi_index.map(|index| format!("ACPI index {index}")));
        facts.extend(self.rdma().iter().map(|name| format!("RDMA {name}")));
        let pkey = function.and_then(|function| function.pkey.as_ref());
        facts.extend(pkey.map(|pkey| format!("partition key {pkey}")));
        let vdpa = function.into_iter().flat_map(|function| &function.vdpa);
        facts.extend(vdpa.map(|vdpa| {
            let driver = vdpa.driver.as_deref().unwrap_or("no driver");
            format!("vDPA {} ({driver})", vdpa.name)
        }));
        facts.join(", ")
    }

    /// Its place in the SR-IOV topology.
    fn role(self, node: &NodeView) -> Option<String> {
        let named = |pf| {
            let name = node.snapshot().function(pf).and_then(netdev);
            let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{pf}{name}")
        };
        let function = match self {
            Self::Function(function) => function,
            Self::Subfunction(subfunction) => {
                let (number, pf) = (subfunction.sfnum, named(subfunction.pf));
                return Some(format!("SF {number} of {pf}"));
            }
        };
        match &function.role {
            SriovRole::Pf { total_vfs, vfs } => {
                Some(format!("PF with {} of {total_vfs} VFs", vfs.len()))
            }
            SriovRole::Vf { pf, index } => {
                let index = index.map(|index| format!(" {index}")).unwrap_or_default();
                Some(format!("VF{index} of {}", named(*pf)))
            }
            SriovRole::None => None,
        }
    }
}

fn link(node: &NodeView, netdev: &Netdev) -> String {
    let state = match (netdev.is_up, netdev.carrier) {
        (Some(false), _) => " (down)",
        (Some(true), Some(false)) => " (without carrier)",
        (Some(true), Some(true) | None) | (None, _) => "",
    };
    let node_use = node.pipeline.uplinks().get(netdev.name.as_str());
    let use_of_node = match node_use.map(|node_use| &node_use.purpose) {
        Some(Purpose::DefaultRoute) => " with the default route".to_owned(),
        Some(Purpose::Address) => " with an address of the node".to_owned(),
        Some(Purpose::Port(master)) => format!(" as a port of {master}"),
        Some(Purpose::Parent(child)) => format!(" as the parent of {child}"),
        Some(Purpose::HyperV(synthetic)) => format!(" as the VF of {synthetic}"),
        None => String::new(),
    };
    format!("{} {}{state}{use_of_node}", netdev.link_type, netdev.name)
}

/// Name of the network device of a function itself, in switchdev mode that of the uplink.
pub(super) fn netdev(function: &PciFunction) -> Option<&str> {
    function.uplink().map(|netdev| netdev.name.as_str())
}
