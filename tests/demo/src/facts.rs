//! Reads PF, VF and pod from the node's kernel with iproute2, without our own code.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use sriov_testkit::node::ip_json;

/// A VF as reported by its PF.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct VfFacts {
    /// Index at the PF.
    pub(crate) vf: u64,
    /// Administrative MAC address.
    pub(crate) mac: String,
    /// Port VLAN, 0 for none.
    pub(crate) vlan: u64,
    /// Priority of the port VLAN.
    pub(crate) qos: u64,
    /// Spoof check.
    pub(crate) spoofchk: bool,
    /// Trust.
    pub(crate) trust: bool,
}

/// A network device in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LinkFacts {
    /// Name.
    pub(crate) name: String,
    /// MAC address.
    pub(crate) mac: String,
    /// MTU in bytes.
    pub(crate) mtu: u64,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Addresses with prefix length.
    pub(crate) addresses: Vec<String>,
}

/// The state of one VF at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Picture {
    /// The VF at its PF.
    pub(crate) at_pf: VfFacts,
    /// Its network device on the host.
    pub(crate) on_host: Option<LinkFacts>,
    /// Its network device in the pod; absent before ADD and after DEL.
    pub(crate) in_pod: Option<LinkFacts>,
}

/// The VF `index` of the PF netdev `pf`.
pub(crate) fn vf_at(pf: &str, index: u64) -> Result<VfFacts> {
    let links = ip_json(None, &["link", "show", "dev", pf])?;
    let all = links
        .pointer("/0/vfinfo_list")
        .and_then(Value::as_array)
        .with_context(|| format!("{pf} lists no VF"))?;
    let vf = all
        .iter()
        .find(|vf| vf["vf"] == index)
        .with_context(|| format!("{pf} has no VF {index}"))?;
    let vlan = vf.pointer("/vlan_list/0");
    let number = |key: &str| {
        vlan.and_then(|vlan| vlan.get(key))
            .and_then(Value::as_u64)
            .unwrap_or(0)
    };
    Ok(VfFacts {
        vf: index,
        mac: vf["address"].as_str().unwrap_or_default().to_owned(),
        vlan: number("vlan"),
        qos: number("qos"),
        spoofchk: vf["spoofchk"] == true,
        trust: vf["trust"] == true,
    })
}

/// All network devices of the PCI device `address` in a namespace.
pub(crate) fn links_of(netns: Option<&str>, address: &str) -> Result<Vec<LinkFacts>> {
    let links = ip_json(netns, &["address", "show"])?;
    let of_device = links
        .as_array()
        .into_iter()
        .flatten()
        .filter(|link| link["parentdev"] == address);
    Ok(of_device.map(link_facts).collect())
}

/// The present state of a VF.
pub(crate) fn picture(pf: &str, index: u64, address: &str, pod: Option<&str>) -> Result<Picture> {
    let in_pod = match pod {
        Some(pod) => links_of(Some(pod), address)?.into_iter().next(),
        None => None,
    };
    Ok(Picture {
        at_pf: vf_at(pf, index)?,
        on_host: links_of(None, address)?.into_iter().next(),
        in_pod,
    })
}

fn link_facts(link: &Value) -> LinkFacts {
    let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
    let addresses = link["addr_info"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|address| address["scope"] == "global");
    LinkFacts {
        name: text("ifname"),
        mac: text("address"),
        mtu: link["mtu"].as_u64().unwrap_or(0),
        up: link["flags"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|flag| flag == "UP"),
        addresses: addresses
            .map(|address| {
                format!(
                    "{}/{}",
                    address["local"].as_str().unwrap_or_default(),
                    address["prefixlen"]
                )
            })
            .collect(),
    }
}
