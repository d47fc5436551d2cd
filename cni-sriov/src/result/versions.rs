//! The shapes of a result in the versions of the specification.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sriov_config::NetConf;
use sriov_config::netconf::CniVersion;

use super::attached::{Attached, Ip};
use super::route::read_route;

impl Attached {
    /// The result as a document in the version of the configuration.
    pub(crate) fn document(&self, conf: &NetConf) -> Value {
        let dns = conf.dns.clone().or_else(|| self.dns.clone());
        let dns = dns.unwrap_or_else(|| json!({}));
        if conf.version <= CniVersion::V0_2_0 {
            self.document_by_family(conf.version, dns)
        } else {
            self.document_by_interface(conf.version, dns)
        }
    }

    /// The result as a document in the newest version.
    pub(crate) fn newest(&self) -> Value {
        self.document_by_interface(CniVersion::V1_1_0, json!({}))
    }

    /// The shape since 0.3.0.
    fn document_by_interface(&self, version: CniVersion, dns: Value) -> Value {
        let mut interfaces = self.interfaces.clone();
        for interface in &mut interfaces {
            interface.mtu = interface.mtu.filter(|_| version >= CniVersion::V1_0_0);
            if version < CniVersion::V1_1_0 {
                interface.pci_id = None;
            }
        }
        let mut document = Map::from_iter([
            ("cniVersion".to_owned(), json!(version.as_str())),
            ("interfaces".to_owned(), json!(interfaces)),
            ("dns".to_owned(), dns),
        ]);
        if !self.ips.is_empty() {
            let ips: Vec<Value> = self.ips.iter().map(|ip| ip_document(ip, version)).collect();
            document.insert("ips".into(), Value::Array(ips));
        }
        if !self.routes.is_empty() {
            document.insert("routes".into(), json!(self.routes));
        }
        Value::Object(document)
    }

    /// The shape up to 0.2.0: one address for each family, with its routes.
    fn document_by_family(&self, version: CniVersion, dns: Value) -> Value {
        let mut document = Map::from_iter([
            ("cniVersion".to_owned(), json!(version.as_str())),
            ("dns".to_owned(), dns),
        ]);
        for (key, is_v4) in [("ip4", true), ("ip6", false)] {
            document.extend(self.family(is_v4).map(|family| (key.to_owned(), family)));
        }
        Value::Object(document)
    }

    fn family(&self, is_v4: bool) -> Option<Value> {
        let mut ips = self.ips.iter();
        let ip = ips.find(|ip| ip.address.addr().is_ipv4() == is_v4)?;
        let is_of_family = |route: &Map<String, Value>| {
            read_route(route).is_some_and(|route| route.dst.addr().is_ipv4() == is_v4)
        };
        let routes = self.routes.iter().filter(|route| is_of_family(route));
        let routes: Vec<Value> = routes
            .map(|route| json!({ "dst": route.get("dst"), "gw": route.get("gw") }))
            .collect();
        Some(json!({ "ip": ip.address, "gateway": ip.gateway, "routes": routes }))
    }

    /// Reads a result of any version.
    ///
    /// # Errors
    /// The mistake, as a sentence.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let value = &without_absent(value);
        let families: Vec<&Value> = ["ip4", "ip6"]
            .iter()
            .filter_map(|key| value.get(key))
            .collect();
        if families.is_empty() {
            return Self::deserialize(value).map_err(|error| error.to_string());
        }
        let mut result = Self {
            dns: value.get("dns").cloned(),
            ..Self::default()
        };
        for family in families {
            result.read_family(family)?;
        }
        Ok(result)
    }

    fn read_family(&mut self, family: &Value) -> Result<(), String> {
        let ip = json!({ "address": family.get("ip"), "gateway": family.get("gateway") });
        let ip = serde_json::from_value(ip).map_err(|error| error.to_string())?;
        self.ips.push(ip);
        let routes = family.get("routes").and_then(Value::as_array);
        let routes = routes.into_iter().flatten();
        self.routes
            .extend(routes.filter_map(|route| route.as_object().cloned()));
        Ok(())
    }
}

/// The document without members that the CNI library reads as absent ones: `null` anywhere, an empty gateway, a negative interface.
fn without_absent(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let items = items.iter().filter(|item| !item.is_null());
            items.map(without_absent).collect()
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, value)| !is_absent(key, value));
            let fields = fields.map(|(key, value)| (key.clone(), without_absent(value)));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn is_absent(key: &str, value: &Value) -> bool {
    value.is_null()
        || (matches!(key, "gateway" | "gw") && value.as_str() == Some(""))
        || (key == "interface" && value.as_i64().is_some_and(|number| number < 0))
}

/// An address; versions before 1.0.0 name its family.
fn ip_document(ip: &Ip, version: CniVersion) -> Value {
    let mut document = json!(ip);
    if version < CniVersion::V1_0_0
        && let Some(fields) = document.as_object_mut()
    {
        let is_v4 = ip.address.addr().is_ipv4();
        let family = if is_v4 { "4" } else { "6" };
        fields.insert("version".into(), json!(family));
    }
    document
}
