//! A result, with the interface and the addresses that this plugin adds to it.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sriov_config::NetConf;
use sriov_config::netconf::CniVersion;
use sriov_host::netlink::Route;

use super::error::ResultError;
use super::route::{SCOPE_LINK, read_route};
use crate::model::Addresses;

/// A result, in the shape of version 1.1.0 of the specification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attached {
    #[serde(default)]
    pub(super) interfaces: Vec<Interface>,
    #[serde(default)]
    pub(super) ips: Vec<Ip>,
    #[serde(default)]
    pub(super) routes: Vec<Map<String, Value>>,
    #[serde(default)]
    pub(super) dns: Option<Value>,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// Name of the interface.
    #[serde(default)]
    pub(crate) name: String,
    /// MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mac: Option<String>,
    /// MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    /// `CNI_NETNS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<String>,
    /// PCI address, since version 1.1.0.
    #[serde(default, rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub(crate) pci_id: Option<String>,
    /// Other fields, as other plugins wrote them.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// An address of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ip {
    pub(super) address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<usize>,
}

impl Attached {
    /// The result of the previous plugin in the chain, which this plugin adds to; empty for the first plugin.
    ///
    /// # Errors
    /// [`ResultError::Previous`].
    pub(crate) fn previous(conf: &NetConf) -> Result<Self, ResultError> {
        let Some(previous) = &conf.prev_result else {
            return Ok(Self::default());
        };
        Self::read(previous).map_err(ResultError::Previous)
    }

    /// The result of the whole chain, which CHECK compares with.
    ///
    /// # Errors
    /// [`ResultError::NoPrevious`] when it is missing, [`ResultError::Previous`].
    pub(crate) fn of_chain(conf: &NetConf) -> Result<Self, ResultError> {
        if conf.prev_result.is_none() {
            return Err(ResultError::NoPrevious);
        }
        Self::previous(conf)
    }

    /// Refuses a configuration whose version cannot express the result: up to 0.2.0 a result must have addresses.
    ///
    /// # Errors
    /// [`ResultError::Inexpressible`].
    pub(crate) fn ensure_expressible(&self, conf: &NetConf) -> Result<(), ResultError> {
        if conf.version <= CniVersion::V0_2_0 && conf.ipam.is_none() && self.ips.is_empty() {
            return Err(ResultError::Inexpressible(conf.version));
        }
        Ok(())
    }

    /// The interface of this name with its addresses; it must be in this sandbox if the result names one.
    pub(crate) fn of_interface(
        &self,
        name: &str,
        sandbox: &Path,
    ) -> (Option<&Interface>, Vec<IpNet>) {
        let is_meant = |interface: &Interface| {
            let stated = interface.sandbox.as_deref().filter(|path| !path.is_empty());
            interface.name == name && stated.is_none_or(|path| Path::new(path) == sandbox)
        };
        let Some(position) = self.interfaces.iter().position(is_meant) else {
            return (None, Vec::new());
        };
        let ips = self
            .ips
            .iter()
            .filter(|ip| ip.interface == Some(position))
            .map(|ip| ip.address);
        (self.interfaces.get(position), ips.collect())
    }

    /// The first interface of this name.
    pub(crate) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The routes that can be read.
    pub(crate) fn readable_routes(&self) -> Vec<Route> {
        self.routes.iter().filter_map(read_route).collect()
    }

    /// Adds the interface of this plugin and returns its position.
    pub(crate) fn add_interface(&mut self, interface: Interface) -> usize {
        self.interfaces.push(interface);
        self.interfaces.len() - 1
    }

    /// Adds the result of IPAM for the interface at `position`.
    ///
    /// # Errors
    /// [`ResultError::Ipam`] when it has no addresses or cannot be read.
    pub(crate) fn add_addresses(
        &mut self,
        ipam: &Value,
        position: usize,
    ) -> Result<Addresses, ResultError> {
        let ipam = Self::read(ipam).map_err(ResultError::Ipam)?;
        if ipam.ips.is_empty() {
            return Err(ResultError::Ipam("no addresses".to_owned()));
        }
        let addresses = Addresses {
            ips: ipam.ips.iter().map(|ip| ip.address).collect(),
            routes: ipam.complete_routes()?,
        };
        self.ips.extend(ipam.ips.into_iter().map(|ip| Ip {
            interface: Some(position),
            ..ip
        }));
        self.routes.extend(ipam.routes);
        let has_fields = |dns: &Value| dns.as_object().is_some_and(|dns| !dns.is_empty());
        self.dns = ipam.dns.filter(has_fields).or(self.dns.take());
        Ok(addresses)
    }

    /// A route without gateway gets the gateway of its family (CNI conventions; the reference IPAM plugins rely on it).
    fn complete_routes(&self) -> Result<Vec<Route>, ResultError> {
        let complete = self.routes.iter().map(|route| {
            let mut route = read_route(route).ok_or_else(|| {
                ResultError::Ipam(format!("a route that cannot be read: {}", json!(route)))
            })?;
            if route.gw.is_none() && route.scope != Some(SCOPE_LINK) {
                route.gw = self.gateway(route.dst.addr().is_ipv4());
            }
            Ok(route)
        });
        complete.collect()
    }

    fn gateway(&self, is_v4: bool) -> Option<IpAddr> {
        let mut gateways = self.ips.iter().filter_map(|ip| ip.gateway);
        gateways.find(|gateway| gateway.is_ipv4() == is_v4)
    }
}
