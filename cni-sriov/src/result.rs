//! The result of ADD: read from any version of the specification, written in the version of the configuration.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sriov_config::NetConf;
use sriov_config::netconf::CniVersion;
use sriov_host::netlink::Route;

use crate::failure::Failure;
use crate::ipam::{Addresses, IpamError};

/// A result, in the shape of version 1.1.0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attached {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
    #[serde(default)]
    routes: Vec<Map<String, Value>>,
    #[serde(default)]
    dns: Option<Value>,
}

/// An interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// MTU in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// `CNI_NETNS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// PCI address, since 1.1.0.
    #[serde(default, rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    /// What other plugins say of their interfaces.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ip {
    address: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
}

impl Attached {
    /// The result of the plugin before, which ours carries on.
    pub fn previous(conf: &NetConf) -> Result<Self, Failure> {
        let Some(previous) = &conf.prev_result else {
            return Ok(Self::default());
        };
        Self::read(previous).map_err(|what| Failure::Config(format!("prevResult: {what}")))
    }

    /// Refuses a configuration whose result its version cannot say, before anything is changed: up to 0.2.0 there must be addresses.
    pub fn ensure_expressible(&self, conf: &NetConf) -> Result<(), Failure> {
        if conf.version <= CniVersion::V0_2_0 && conf.ipam.is_none() && self.ips.is_empty() {
            let version = conf.version;
            return Err(Failure::Config(format!(
                "cniVersion: `{version}` cannot express a result without addresses: name an ipam, or 0.3.0 and later"
            )));
        }
        Ok(())
    }

    /// The interface of this name, in this sandbox where the result says in which.
    pub fn of_interface(&self, name: &str, sandbox: &Path) -> (Option<&Interface>, Vec<IpNet>) {
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
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// The routes, as far as they are such.
    pub fn readable_routes(&self) -> Vec<Route> {
        self.routes.iter().filter_map(read_route).collect()
    }

    /// Adds our interface and gives its position.
    pub fn add_interface(&mut self, interface: Interface) -> usize {
        self.interfaces.push(interface);
        self.interfaces.len() - 1
    }

    /// Adds what IPAM gave for the interface at a position.
    pub fn add_addresses(
        &mut self,
        result: &Value,
        position: usize,
    ) -> Result<Addresses, IpamError> {
        let unusable = |what: String| IpamError::Result {
            plugin: "ipam".to_owned(),
            what,
        };
        let given = Self::read(result).map_err(unusable)?;
        if given.ips.is_empty() {
            return Err(unusable("no addresses".to_owned()));
        }
        let gateway = |v4: bool| {
            given
                .ips
                .iter()
                .filter_map(|ip| ip.gateway)
                .find(|gateway| gateway.is_ipv4() == v4)
        };
        let mut routes = Vec::new();
        for route in &given.routes {
            let mut route = read_route(route).ok_or_else(|| {
                unusable(format!("a route that cannot be read: {}", json!(route)))
            })?;
            // A route without gateway is over the one of its family (CNI conventions; the reference IPAM plugins rely on it).
            route.gw = route.gw.or_else(|| {
                if route.scope == Some(253) {
                    None
                } else {
                    gateway(route.dst.addr().is_ipv4())
                }
            });
            routes.push(route);
        }
        let addresses = Addresses {
            ips: given.ips.iter().map(|ip| ip.address).collect(),
            routes,
        };
        self.ips.extend(given.ips.into_iter().map(|ip| Ip {
            interface: Some(position),
            ..ip
        }));
        self.routes.extend(given.routes);
        self.dns = given
            .dns
            .filter(|dns| dns.as_object().is_some_and(|dns| !dns.is_empty()))
            .or(self.dns.take());
        Ok(addresses)
    }

    /// The document in the version of the configuration.
    pub fn document(&self, conf: &NetConf) -> Value {
        let version = conf.version;
        let dns = conf
            .dns
            .clone()
            .or_else(|| self.dns.clone())
            .unwrap_or_else(|| json!({}));
        if version <= CniVersion::V0_2_0 {
            return self.document_0_2(version, &dns);
        }
        let mut interfaces = self.interfaces.clone();
        let mut ips: Vec<Value> = self.ips.iter().map(|ip| json!(ip)).collect();
        if version < CniVersion::V1_1_0 {
            for interface in &mut interfaces {
                interface.pci_id = None;
            }
        }
        if version < CniVersion::V1_0_0 {
            for interface in &mut interfaces {
                interface.mtu = None;
            }
            for (ip, value) in self.ips.iter().zip(&mut ips) {
                value.as_object_mut().map(|object| {
                    object.insert(
                        "version".into(),
                        json!(if ip.address.addr().is_ipv4() {
                            "4"
                        } else {
                            "6"
                        }),
                    )
                });
            }
        }
        let mut document =
            json!({ "cniVersion": version.as_str(), "interfaces": interfaces, "dns": dns });
        if let Some(object) = document.as_object_mut() {
            if !ips.is_empty() {
                object.insert("ips".into(), Value::Array(ips));
            }
            if !self.routes.is_empty() {
                object.insert("routes".into(), json!(self.routes));
            }
        }
        document
    }

    /// One address a family, with its routes.
    fn document_0_2(&self, version: CniVersion, dns: &Value) -> Value {
        let family = |v4: bool| {
            let ip = self
                .ips
                .iter()
                .find(|ip| ip.address.addr().is_ipv4() == v4)?;
            let routes = self.routes.iter().filter(|route| {
                read_route(route).is_some_and(|route| route.dst.addr().is_ipv4() == v4)
            });
            let routes: Vec<Value> = routes
                .map(|route| json!({ "dst": route.get("dst"), "gw": route.get("gw") }))
                .collect();
            Some(json!({ "ip": ip.address, "gateway": ip.gateway, "routes": routes }))
        };
        let mut document = Map::from_iter([
            ("cniVersion".to_owned(), json!(version.as_str())),
            ("dns".to_owned(), dns.clone()),
        ]);
        document.extend(family(true).map(|family| ("ip4".to_owned(), family)));
        document.extend(family(false).map(|family| ("ip6".to_owned(), family)));
        Value::Object(document)
    }

    /// Reads a result of any version.
    fn read(value: &Value) -> Result<Self, String> {
        let families: Vec<&Value> = ["ip4", "ip6"]
            .iter()
            .filter_map(|key| value.get(key))
            .collect();
        if families.is_empty() {
            return serde_json::from_value(value.clone()).map_err(|error| error.to_string());
        }
        let mut result = Self {
            dns: value.get("dns").cloned(),
            ..Self::default()
        };
        for family in families {
            let ip = json!({ "address": family.get("ip"), "gateway": family.get("gateway") });
            result
                .ips
                .push(serde_json::from_value(ip).map_err(|error| error.to_string())?);
            let routes = family
                .get("routes")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            result
                .routes
                .extend(routes.filter_map(|route| route.as_object().cloned()));
        }
        Ok(result)
    }
}

fn read_route(route: &Map<String, Value>) -> Option<Route> {
    let number = |key: &str| {
        route
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|number| u32::try_from(number).ok())
    };
    let gw = route
        .get("gw")
        .and_then(Value::as_str)
        .filter(|gw| !gw.is_empty());
    Some(Route {
        dst: route.get("dst")?.as_str()?.parse().ok()?,
        gw: gw.map(str::parse).transpose().ok()?,
        mtu: number("mtu").filter(|mtu| *mtu > 0),
        advmss: number("advmss").filter(|advmss| *advmss > 0),
        priority: number("priority"),
        table: number("table"),
        scope: number("scope").and_then(|scope| u8::try_from(scope).ok()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of all kinds, with the keys of a result among them.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "192\\.0\\.2\\.1(/24)?|[a-z]{0,4}|2001:db8::1/64".prop_map(Value::from),
        ];
        let keys = "interfaces|ips|ip4|ip6|routes|dns|address|ip|gateway|interface|name|dst|gw|mtu|table|x";
        leaf.prop_recursive(4, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(keys, inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_previous_result_is_read_or_refused_and_said_again(
            previous in any_value(),
            version in prop::sample::select(CniVersion::ALL.as_slice()),
        ) {
            let conf = json!({ "cniVersion": version.as_str(), "name": "n", "prevResult": previous });
            let conf = NetConf::parse(&conf.to_string(), None).unwrap();
            if let Ok(mut attached) = Attached::previous(&conf) {
                let _ = attached.add_addresses(&previous, 0);
                let _ = attached.readable_routes();
                let document = attached.document(&conf);
                prop_assert_eq!(&document["cniVersion"], version.as_str());
                prop_assert!(Attached::read(&document).is_ok(), "{}", document);
            }
        }
    }

    fn document(version: &str, ipam: Option<&Value>) -> Value {
        let with_ipam = if ipam.is_some() {
            r#", "ipam": {"type": "x"}"#
        } else {
            ""
        };
        let conf = NetConf::parse(
            &format!(r#"{{"cniVersion": "{version}", "name": "n"{with_ipam}}}"#),
            None,
        )
        .unwrap();
        let mut attached = Attached::default();
        let interface = Interface {
            name: "net1".into(),
            mac: Some("02:00:00:00:00:01".into()),
            mtu: Some(1500),
            pci_id: Some("0000:01:10.0".into()),
            ..Interface::default()
        };
        let position = attached.add_interface(interface);
        if let Some(ipam) = ipam {
            attached.add_addresses(ipam, position).unwrap();
        }
        attached.document(&conf)
    }

    #[test]
    fn each_version_says_what_it_can() {
        let ipam = json!({"ips": [{"address": "192.0.2.10/24", "gateway": "192.0.2.1"}], "routes": [{"dst": "0.0.0.0/0"}]});
        let new = document("1.1.0", Some(&ipam));
        assert_eq!(
            new["interfaces"][0],
            json!({"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 1500, "pciID": "0000:01:10.0"})
        );
        assert_eq!(
            new["ips"][0],
            json!({"address": "192.0.2.10/24", "gateway": "192.0.2.1", "interface": 0})
        );
        assert_eq!(
            document("1.0.0", Some(&ipam))["interfaces"][0].get("pciID"),
            None
        );
        let old = document("0.4.0", Some(&ipam));
        assert_eq!(
            (
                old["ips"][0]["version"].as_str(),
                old["interfaces"][0].get("mtu")
            ),
            (Some("4"), None)
        );
        let oldest = document("0.2.0", Some(&ipam));
        assert_eq!(oldest["ip4"]["ip"], "192.0.2.10/24");
        assert_eq!(oldest.get("interfaces"), None);
    }

    #[test]
    fn a_result_that_cannot_be_said_is_refused() {
        let conf = NetConf::parse(r#"{"cniVersion": "0.2.0", "name": "n"}"#, None).unwrap();
        assert_eq!(
            Attached::default()
                .ensure_expressible(&conf)
                .unwrap_err()
                .code(),
            7
        );
    }

    #[test]
    fn an_old_ipam_result_is_read_and_an_empty_one_refused() {
        let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.10/24", "gateway": "192.0.2.1", "routes": [{"dst": "10.0.0.0/8"}]}});
        let addresses = Attached::default().add_addresses(&old, 0).unwrap();
        assert_eq!(addresses.routes[0].gw, Some("192.0.2.1".parse().unwrap()));
        assert!(
            Attached::default()
                .add_addresses(&json!({"ips": []}), 0)
                .is_err()
        );
    }

    #[test]
    fn the_result_of_the_plugin_before_is_carried_on() {
        let conf = r#"{"cniVersion": "1.0.0", "name": "n", "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.0.0.1/8", "interface": 0}]}}"#;
        let conf = NetConf::parse(conf, None).unwrap();
        let mut attached = Attached::previous(&conf).unwrap();
        assert_eq!(attached.add_interface(Interface::default()), 1);
        assert_eq!(attached.document(&conf)["interfaces"][0]["name"], "eth0");
    }
}
