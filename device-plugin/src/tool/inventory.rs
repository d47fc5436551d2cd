//! `inventory`: one row a device, PFs before their VFs, as a table or as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
use sriov_host::VfIndex;
use sriov_host::snapshot::{PciFunction, SriovRole};

use super::Node;
use super::table::{Paint, Tone, table};
use crate::ownership::{Finding, Holder};
use crate::pools::{LeftOut, Pool};

/// A device.
pub(super) struct Row<'a> {
    function: &'a PciFunction,
    pf_name: Option<&'a str>,
    pool: Option<String>,
    /// Why it is in no pool.
    left_out: Option<LeftOut>,
    findings: Vec<Finding>,
    holders: &'a [Holder],
}

/// The devices that are of some resource's class or have to do with SR-IOV.
pub(super) fn rows(node: &Node) -> Vec<Row<'_>> {
    let is_ours = |function: &&PciFunction| {
        function.role != SriovRole::None || matches!(function.class.base(), 0x02 | 0x12)
    };
    let functions = node.snapshot.functions.values().filter(is_ours);
    let mut rows: Vec<Row<'_>> = functions.map(|function| row(node, function)).collect();
    rows.sort_by_key(|row| match row.function.role {
        SriovRole::Vf { pf, index } => (pf, true, index, row.function.address),
        SriovRole::Pf { .. } | SriovRole::None => {
            (row.function.address, false, None, row.function.address)
        }
    });
    rows
}

fn row<'a>(node: &'a Node, function: &'a PciFunction) -> Row<'a> {
    let id = function.address.to_string();
    let has = |pool: &&Pool| {
        let mut devices = pool.devices.iter();
        devices.any(|device| device.address == function.address)
    };
    let pool = node.pools.pools.iter().find(has);
    Row {
        function,
        pf_name: node.snapshot.pf_of(function).and_then(netdev),
        pool: pool.map(|pool| pool.resource.name.to_string()),
        left_out: node.pools.left_out.get(&function.address).copied(),
        findings: node.owners.findings(function.address),
        holders: node.owners.holders(&id),
    }
}

impl Row<'_> {
    fn health(&self) -> Option<&'static str> {
        let is_dirty = self.findings.contains(&Finding::Dirty);
        self.pool
            .as_ref()
            .map(|_| if is_dirty { "unhealthy" } else { "healthy" })
    }

    fn role(&self) -> String {
        match &self.function.role {
            SriovRole::Pf { total_vfs, vfs } => format!("PF {}/{total_vfs}", vfs.len()),
            SriovRole::Vf { pf, index } => {
                let pf = self.pf_name.map_or_else(|| pf.to_string(), str::to_owned);
                match index {
                    Some(index) => format!("VF {index} of {pf}"),
                    None => format!("VF of {pf}"),
                }
            }
            SriovRole::None => "-".to_owned(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let left_out = self.left_out.iter().map(ToString::to_string);
        left_out
            .chain(self.findings.iter().map(ToString::to_string))
            .collect()
    }
}

/// The table.
pub(super) fn text(node: &Node, rows: &[Row<'_>], paint: Paint) -> String {
    let head = [
        "DEVICE", "ROLE", "ID", "DRIVER", "NUMA", "NETDEV", "POOL", "HEALTH", "HOLDER", "NOTE",
    ];
    let mut cells = vec![head.map(|word| (Tone::Head, word.to_owned())).to_vec()];
    for row in rows {
        let function = row.function;
        let or_none = |text: Option<String>| (Tone::Normal, text.unwrap_or_else(|| "-".to_owned()));
        let health = row.health();
        let tone = match health {
            Some("healthy") => Tone::Good,
            Some(_) => Tone::Bad,
            None => Tone::Normal,
        };
        let holders: Vec<String> = row.holders.iter().map(ToString::to_string).collect();
        let tail = if row.findings.is_empty() {
            Tone::Normal
        } else {
            Tone::Odd
        };
        cells.push(vec![
            (Tone::Normal, function.address.to_string()),
            (Tone::Normal, row.role()),
            (
                Tone::Normal,
                format!("{}:{}", function.vendor, function.device),
            ),
            or_none(function.driver.clone()),
            or_none(function.numa_node.map(|node| node.to_string())),
            or_none(netdev(function).map(str::to_owned)),
            or_none(row.pool.clone()),
            (tone, health.unwrap_or("-").to_owned()),
            or_none((!holders.is_empty()).then(|| holders.join(" "))),
            (tail, row.notes().join("; ")),
        ]);
    }
    let mut text = table(&cells, paint);
    for problem in &node.snapshot.problems {
        let word = paint.tone(Tone::Bad, "not read");
        let _ = writeln!(text, "{word}: {}: {}", problem.device, problem.reason);
    }
    text
}

/// The same as JSON; a new field may come, none changes its meaning while `version` is 1.
pub(super) fn json(node: &Node, rows: &[Row<'_>]) -> String {
    let devices: Vec<Value> = rows.iter().map(device).collect();
    let problems = node.snapshot.problems.iter();
    let problems: Vec<Value> = problems
        .map(|problem| json!({ "device": problem.device, "reason": problem.reason }))
        .collect();
    let document = json!({
        "version": 1,
        "holdersKnown": node.owners.pods.is_some(),
        "devices": devices,
        "problems": problems,
    });
    format!("{document:#}\n")
}

fn device(row: &Row<'_>) -> Value {
    let function = row.function;
    let netdevs: Vec<&str> = function
        .netdevs
        .iter()
        .map(|netdev| netdev.name.as_str())
        .collect();
    let holders: Vec<Value> = row
        .holders
        .iter()
        .map(|holder| {
            json!({
                "namespace": holder.namespace, "pod": holder.pod,
                "container": holder.container, "resource": holder.resource,
            })
        })
        .collect();
    let role = match &function.role {
        SriovRole::Pf { total_vfs, vfs } => {
            let vfs = vfs
                .iter()
                .map(|(index, vf)| (index.to_string(), json!(vf.to_string())));
            json!({ "kind": "pf", "totalVfs": total_vfs, "vfs": Value::Object(vfs.collect()) })
        }
        SriovRole::Vf { pf, index } => json!({
            "kind": "vf", "pf": pf.to_string(), "pfName": row.pf_name,
            "index": index.map(VfIndex::get),
        }),
        SriovRole::None => json!({ "kind": "none" }),
    };
    json!({
        "address": function.address.to_string(),
        "role": role,
        "vendor": function.vendor.to_string(),
        "device": function.device.to_string(),
        "class": function.class.to_string(),
        "driver": function.driver,
        "numaNode": function.numa_node,
        "netdevs": netdevs,
        "pool": row.pool,
        "health": row.health(),
        "holders": holders,
        "leftOut": row.left_out.map(|why| why.to_string()),
        "findings": row.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Its first network device here.
pub(super) fn netdev(function: &PciFunction) -> Option<&str> {
    function.netdevs.first().map(|netdev| netdev.name.as_str())
}
