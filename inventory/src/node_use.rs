//! Why a network device belongs to the node's own network, and so to no pod.

use std::collections::BTreeMap;
use std::fmt;

/// The network devices that the node itself uses, by name.
pub type NodeUses = BTreeMap<String, NodeUse>;

/// A use of a network device by the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeUse {
    /// The use.
    pub purpose: Purpose,
    /// The device on top of it that has this use, for instance a bond or a VLAN; absent if it is the device itself.
    pub through: Option<String>,
}

/// A use of a network device by the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Purpose {
    /// It carries a default route.
    #[error("it carries a default route")]
    DefaultRoute,
    /// It has an address that is valid beyond its link.
    #[error("it has an address of the node")]
    Address,
    /// It is a port of this device: a bridge, bond, team, VRF or Open vSwitch.
    #[error("it is a port of `{0}`")]
    Port(String),
    /// A macvlan or ipvlan device is stacked on it.
    #[error("it is the parent of the macvlan or ipvlan device `{0}`")]
    Parent(String),
    /// It is the fast path of this virtual device of Hyper-V.
    #[error("it is the VF of the Hyper-V device `{0}`")]
    HyperV(String),
}

impl NodeUse {
    /// The use as one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self.purpose {
            Purpose::DefaultRoute => "default_route",
            Purpose::Address => "node_address",
            Purpose::Port(_) => "port",
            Purpose::Parent(_) => "parent",
            Purpose::HyperV(_) => "hyper_v",
        }
    }
}

impl fmt::Display for NodeUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, through } = self;
        match through {
            Some(through) => write!(f, "{purpose} through `{through}`"),
            None => purpose.fmt(f),
        }
    }
}
