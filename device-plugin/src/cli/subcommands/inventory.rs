//! `inventory`: one row for each device, PFs before their VFs, as a table or as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use sriov_config::resource_list::{Publish, ResourceName};
use sriov_host::VfIndex;
use sriov_host::snapshot::{Netdev, PciFunction, SriovRole, uplink};
use sriov_inventory::candidate::is_of_class;
use sriov_inventory::id::DeviceId;
use sriov_inventory::node_use::NodeUse;
use sriov_inventory::owners::{Finding, Holder};
use sriov_inventory::pool::LeftOut;
use sriov_inventory::unhealthy::Unhealthy;
use sriov_node::holders::unattached;

use super::NodeView;
use super::device::{Device, netdev};
use super::table::{Paint, Tone, table};

pub(super) struct Row<'a> {
    id: DeviceId,
    device: Device<'a>,
    /// The PF of a VF or a subfunction, else the function itself.
    base: &'a PciFunction,
    pool: Option<String>,
    /// Whether the DRA driver publishes its pool.
    is_dra: bool,
    /// Why no pod can use it now.
    unhealthy: Option<&'a Unhealthy>,
    /// Why it is in no pool.
    left_out: Option<&'a LeftOut>,
    /// The use of the device by the node, although it is in a pool.
    node_use: Option<&'a NodeUse>,
    findings: Vec<Finding>,
    holders: Vec<&'a Holder>,
    /// Whether a pod has it and the CNI plugin did not attach it.
    is_unattached: bool,
}

/// The devices of some resource's class, PFs, their VFs, and their subfunctions.
pub(super) fn rows(node: &NodeView) -> Vec<Row<'_>> {
    let functions = node.snapshot().functions.values();
    let shown = functions.filter(|function| is_shown(node, function));
    let functions = shown.map(|function| {
        let pf = node.snapshot().pf_of(function);
        row(node, Device::Function(function), pf.unwrap_or(function))
    });
    let subfunctions = node.snapshot().subfunctions.values();
    let subfunctions = subfunctions.filter_map(|subfunction| {
        let pf = node.snapshot().function(subfunction.pf)?;
        Some(row(node, Device::Subfunction(subfunction), pf))
    });
    let mut rows: Vec<Row<'_>> = functions.chain(subfunctions).collect();
    rows.sort_by_key(|row| {
        let place = match &row.device {
            Device::Function(function) => match function.role {
                SriovRole::Vf { index, .. } => (1, index.map(|index| u32::from(index.get()))),
                SriovRole::Pf { .. } | SriovRole::None => (0, None),
            },
            Device::Subfunction(subfunction) => (2, Some(subfunction.sfnum)),
        };
        (row.base.address, place)
    });
    rows
}

fn is_shown(node: &NodeView, function: &PciFunction) -> bool {
    let mut resources = node.list.resources.iter();
    function.role != SriovRole::None
        || matches!(function.class.base(), 0x02 | 0x12)
        || resources.any(|resource| is_of_class(function, resource))
}

fn row<'a>(node: &'a NodeView, device: Device<'a>, base: &'a PciFunction) -> Row<'a> {
    let id = device.id();
    let pool = node.pool_of(&id);
    let address = id.address();
    Row {
        pool: pool.map(|pool| pool.name.to_string()),
        is_dra: pool.is_some_and(|pool| pool.publish == Publish::Dra),
        unhealthy: pool.and_then(|pool| pool.unhealthy.get(&id)),
        left_out: node.pools.left_out.get(&id),
        node_use: node.pools.in_use.get(&id),
        findings: address
            .map(|address| node.owners.findings(address))
            .unwrap_or_default(),
        holders: node.owners.holders(&id).collect(),
        is_unattached: address.is_some_and(|address| node.owners.is_unattached(address)),
        id,
        device,
        base,
    }
}

impl Row<'_> {
    fn health(&self) -> Option<&'static str> {
        self.pool.as_ref().map(|_| match self.unhealthy {
            Some(_) => "unhealthy",
            None => "healthy",
        })
    }

    fn role(&self) -> String {
        let pf = || netdev(self.base).map_or_else(|| self.base.address.to_string(), str::to_owned);
        match &self.device {
            Device::Subfunction(subfunction) => format!("SF {} of {}", subfunction.sfnum, pf()),
            Device::Function(function) => match &function.role {
                SriovRole::Pf { total_vfs, vfs } => format!("PF {}/{total_vfs}", vfs.len()),
                SriovRole::Vf { pf: address, .. } if *address != self.base.address => {
                    format!("VF of {address}")
                }
                SriovRole::Vf { index, .. } => match index {
                    Some(index) => format!("VF {index} of {}", pf()),
                    None => format!("VF of {}", pf()),
                },
                SriovRole::None => "-".to_owned(),
            },
        }
    }

    /// The function whose vendor, device and NUMA node it has.
    fn hardware(&self) -> &PciFunction {
        match &self.device {
            Device::Function(function) => function,
            Device::Subfunction(_) => self.base,
        }
    }

    fn notes(&self) -> Vec<String> {
        let left_out = self.left_out.iter().filter(|_| self.pool.is_none());
        let findings = self.findings.iter();
        // The health states it already.
        let findings =
            findings.filter(|finding| **finding != Finding::Dirty || self.pool.is_none());
        let unhealthy = self.unhealthy.iter().map(ToString::to_string);
        let node_use = self.node_use.iter().map(ToString::to_string);
        let dra = self
            .is_dra
            .then(|| "published by sriov-dra-driver".to_owned());
        unhealthy
            .chain(dra)
            .chain(node_use)
            .chain(left_out.map(ToString::to_string))
            .chain(findings.map(ToString::to_string))
            .chain(self.unattached())
            .collect()
    }

    /// Advice when a pod holds a VF whose network device is still on the node.
    fn unattached(&self) -> Option<String> {
        let Device::Function(function) = &self.device else {
            return None;
        };
        let is_vf = matches!(function.role, SriovRole::Vf { .. });
        (is_vf && self.is_unattached && netdev(function).is_some()).then(|| {
            let resource = self.pool.as_deref().unwrap_or("its resource");
            unattached::advice(resource)
        })
    }
}

pub(super) fn text(node: &NodeView, rows: &[Row<'_>], paint: Paint) -> String {
    let head = [
        "DEVICE", "ROLE", "ID", "DRIVER", "NUMA", "NETDEV", "POOL", "HEALTH", "HOLDER", "NOTE",
    ];
    let mut cells = vec![head.map(|word| (Tone::Head, word.to_owned())).to_vec()];
    for row in rows {
        let hardware = row.hardware();
        let or_none = |text: Option<String>| (Tone::Normal, text.unwrap_or_else(|| "-".to_owned()));
        let health = row.health();
        let tone = match health {
            Some("healthy") => Tone::Good,
            Some(_) => Tone::Bad,
            None => Tone::Normal,
        };
        let holders: Vec<String> = row.holders.iter().map(ToString::to_string).collect();
        let tail = if row.findings.is_empty() && row.unhealthy.is_none() {
            Tone::Normal
        } else {
            Tone::Odd
        };
        cells.push(vec![
            (Tone::Normal, row.id.to_string()),
            (Tone::Normal, row.role()),
            (
                Tone::Normal,
                format!("{}:{}", hardware.vendor, hardware.device),
            ),
            or_none(row.device.driver().map(str::to_owned)),
            or_none(hardware.numa_node.map(|node| node.to_string())),
            or_none(uplink(row.device.netdevs()).map(|netdev| netdev.name.to_string())),
            or_none(row.pool.clone()),
            (tone, health.unwrap_or("-").to_owned()),
            or_none((!holders.is_empty()).then(|| holders.join(" "))),
            (tail, row.notes().join("; ")),
        ]);
    }
    let mut text = table(&cells, paint);
    for (pool, id, holders) in vanished(node) {
        let word = paint.tone(Tone::Bad, "gone");
        let holders: Vec<String> = holders.map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "{word}: {id} of {pool}, held by {}",
            holders.join(" ")
        );
    }
    for problem in &node.snapshot().problems {
        let word = paint.tone(Tone::Bad, "not read");
        let _ = writeln!(text, "{word}: {}: {}", problem.device, problem.reason);
    }
    text
}

/// Removed devices that pods still hold.
fn vanished(
    node: &NodeView,
) -> impl Iterator<Item = (&ResourceName, &DeviceId, impl Iterator<Item = &Holder>)> {
    node.pools.pools.iter().flat_map(|pool| {
        let all = pool.unhealthy.iter();
        let gone = all.filter(|(_, why)| **why == Unhealthy::Gone);
        gone.map(|(id, _)| {
            let holders = node.owners.holders(id);
            (&pool.name, id, holders)
        })
    })
}

/// The same as JSON; fields may be added, but none changes its meaning while `version` is 1.
pub(super) fn json(node: &NodeView, rows: &[Row<'_>]) -> String {
    let devices: Vec<Value> = rows.iter().map(device).collect();
    let problems = node.snapshot().problems.iter();
    let problems: Vec<Value> = problems
        .map(|problem| json!({ "device": problem.device, "reason": problem.reason }))
        .collect();
    let vanished = vanished(node).map(|(pool, id, holders)| {
        let holders: Vec<Value> = holders.map(holder).collect();
        json!({ "id": id.to_string(), "pool": pool.to_string(), "holders": holders })
    });
    let document = json!({
        "version": 1,
        "holdersKnown": node.owners.pods.is_some(),
        "devices": devices,
        "vanished": vanished.collect::<Vec<_>>(),
        "problems": problems,
    });
    format!("{document:#}\n")
}

fn device(row: &Row<'_>) -> Value {
    let hardware = row.hardware();
    let function = match row.device {
        Device::Function(function) => Some(function),
        Device::Subfunction(_) => None,
    };
    let vdpa = function.into_iter().flat_map(|function| &function.vdpa);
    let vdpa = vdpa.map(|device| json!({ "name": device.name, "driver": device.driver }));
    json!({
        "id": row.id.to_string(),
        "role": role(row),
        "vendor": hardware.vendor.to_string(),
        "device": hardware.device.to_string(),
        "class": hardware.class.to_string(),
        "driver": row.device.driver(),
        "numaNode": hardware.numa_node,
        "netdevs": row.device.netdevs().iter().map(link).collect::<Vec<_>>(),
        "rdma": row.device.rdma(),
        "vdpa": vdpa.collect::<Vec<_>>(),
        "acpiIndex": function.and_then(|function| function.acpi_index.as_deref()),
        "pKey": function.and_then(|function| function.pkey.as_deref()),
        "pool": row.pool,
        "health": row.health(),
        "unhealthy": row.unhealthy.map(ToString::to_string),
        "holders": row.holders.iter().copied().map(holder).collect::<Vec<_>>(),
        "leftOut": row.left_out.map(ToString::to_string),
        "findings": row.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn role(row: &Row<'_>) -> Value {
    match &row.device {
        Device::Subfunction(subfunction) => json!({
            "kind": "sf", "pf": subfunction.pf.to_string(), "pfName": netdev(row.base), "number": subfunction.sfnum,
        }),
        Device::Function(function) => match &function.role {
            SriovRole::Pf { total_vfs, vfs } => {
                let vfs = vfs.iter();
                let vfs = vfs.map(|(index, vf)| (index.to_string(), json!(vf.to_string())));
                json!({ "kind": "pf", "totalVfs": total_vfs, "vfs": Value::Object(vfs.collect()) })
            }
            SriovRole::Vf { pf, index } => json!({
                "kind": "vf", "pf": pf.to_string(), "index": index.map(VfIndex::get),
                "pfName": (*pf == row.base.address).then(|| netdev(row.base)).flatten(),
            }),
            SriovRole::None => json!({ "kind": "none" }),
        },
    }
}

fn link(netdev: &Netdev) -> Value {
    json!({
        "name": netdev.name.as_str(),
        "linkType": netdev.link_type.to_string(),
        "up": netdev.is_up,
        "carrier": netdev.carrier,
    })
}

fn holder(holder: &Holder) -> Value {
    match holder {
        Holder::Pod(pod) => json!({
            "namespace": pod.namespace,
            "pod": pod.pod,
            "container": pod.container,
            "resource": pod.resource,
        }),
        Holder::Claim(claim) => json!({
            "namespace": claim.namespace,
            "claim": claim.name,
            "resource": claim.resource,
        }),
        Holder::Granted(resource) => json!({ "resource": &**resource }),
    }
}
