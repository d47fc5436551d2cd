//! `explain`: why a device is in a pool or in none, and which devices a resource has or lacks.

use std::fmt::Write;

use sriov_config::resource_list::{Publish, Resource, ResourceName, Selector, Unusable};
use sriov_inventory::candidate::Candidate;
use sriov_inventory::class_hint::{class_hint, is_of_other_class};
use sriov_inventory::id::DeviceId;
use sriov_inventory::judge::unreadable;
use sriov_inventory::owners::Finding;
use sriov_inventory::pool::{LeftOut, Pool};
use sriov_inventory::selector_match::{Condition, conditions};
use sriov_inventory::unhealthy::Unhealthy;

use super::check_config::count;
use super::device::Device;
use super::table::{Paint, Tone};
use super::{NodeView, Verdict};

/// Explains a device or a resource, with or without its prefix.
pub(super) fn subject(node: &NodeView, subject: &str, paint: Paint) -> (String, Verdict) {
    if let Ok(id) = subject.parse::<DeviceId>() {
        return match Device::find(node, &id) {
            Some(what) => (device(node, what, paint), Verdict::Good),
            None => (missing(node, &id, paint), Verdict::Bad),
        };
    }
    let mut pools = node.list.resources.iter().zip(&node.pools.pools);
    if let Some((resource, found)) = pools.find(|(_, pool)| is_named(&pool.name, subject)) {
        let text = pool(node, found, paint) + &others(node, resource);
        return (text, Verdict::Good);
    }
    for Unusable { name, mistakes } in &node.list.unusable {
        if let Some(name) = name.as_ref().filter(|name| is_named(name, subject)) {
            let word = paint.tone(Tone::Bad, "not served");
            return (format!("{name}: {word}: {mistakes}\n"), Verdict::Bad);
        }
    }
    let text = format!(
        "`{subject}` is neither a device like 0000:01:10.0 or mlx5_core.sf.4 nor a resource of the configuration\n"
    );
    (text, Verdict::Bad)
}

/// Whether a resource has this name, with or without its prefix.
fn is_named(resource: &ResourceName, subject: &str) -> bool {
    let full = resource.to_string();
    let name = full.split_once('/').map(|(_, name)| name);
    full == subject || name == Some(subject)
}

/// A device that does not exist, or cannot be read.
fn missing(node: &NodeView, id: &DeviceId, paint: Paint) -> String {
    let why = unreadable(node.snapshot()).remove(id);
    let state = match &why {
        Some(why) => why.to_string(),
        None => "this machine has no such device".to_owned(),
    };
    let mut text = format!("{id}: {state}\n");
    if let Some(pool) = node.pool_of(id) {
        let (word, name) = (paint.tone(Tone::Bad, "unhealthy"), &pool.name);
        let why = why.unwrap_or(Unhealthy::Gone);
        let _ = writeln!(text, "  {word} in {name}: {why}");
    }
    text + &held(node, id)
}

fn held(node: &NodeView, id: &DeviceId) -> String {
    let holders = node.owners.holders(id);
    let lines = holders.map(|holder| format!("  held by {holder} as {}\n", holder.resource()));
    lines.collect()
}

/// A pool with its devices.
pub(super) fn pool(node: &NodeView, pool: &Pool, paint: Paint) -> String {
    let ids = pool.ids();
    let number = count(ids.len(), "device");
    let tone = if ids.is_empty() {
        Tone::Odd
    } else {
        Tone::Good
    };
    let front_end = match pool.publish {
        Publish::DevicePlugin => "",
        Publish::Dra => ", published by sriov-dra-driver",
    };
    let name = &pool.name;
    let mut text = format!("{name}: {}{front_end}\n", paint.tone(tone, &number));
    let mut resources = node.list.resources.iter();
    let resource = resources.find(|resource| resource.name == pool.name);
    let hint = resource.and_then(|resource| class_hint(node.snapshot(), resource));
    if let Some(hint) = hint.filter(|_| ids.is_empty()) {
        let _ = writeln!(
            text,
            "  {}",
            paint.tone(Tone::Odd, &format!("warning: {hint}"))
        );
    }
    for id in ids {
        let facts = Device::find(node, id).map(|what| what.facts(node));
        let unhealthy = pool.unhealthy.get(id);
        let unhealthy = unhealthy.map(|why| paint.tone(Tone::Bad, &format!("unhealthy: {why}")));
        let holders = node.owners.holders(id);
        let holders = holders.map(|holder| format!("held by {holder}"));
        let parts: Vec<String> = facts.into_iter().chain(unhealthy).chain(holders).collect();
        let _ = writeln!(text, "  {id}: {}", parts.join(", "));
    }
    text
}

/// The devices of its kind that a resource lacks, and why.
fn others(node: &NodeView, resource: &Resource) -> String {
    let mut text = String::new();
    for what in Device::all(node) {
        let id = what.id();
        let Some(candidate) = what.candidate(node).filter(|it| it.is_for(resource)) else {
            continue;
        };
        let why = match (node.pool_of(&id), node.pools.left_out.get(&id)) {
            (Some(pool), _) if pool.name == resource.name => continue,
            (Some(pool), _) if is_chosen(&candidate, resource) => {
                format!("{} comes first and gets it", pool.name)
            }
            (None, Some(why)) if *why != LeftOut::NoSelector => why.to_string(),
            (Some(_) | None, _) => nearest(&candidate, resource),
        };
        let _ = writeln!(text, "  not {id}: {why}");
    }
    text
}

fn device(node: &NodeView, what: Device<'_>, paint: Paint) -> String {
    let id = what.id();
    let home = node.pool_of(&id);
    let verdict = match (home, node.pools.left_out.get(&id)) {
        (Some(pool), _) => paint.tone(Tone::Good, &format!("is in {}", pool.name)),
        (None, Some(why)) => paint.tone(Tone::Odd, &format!("is in no pool: {why}")),
        (None, None) => paint.tone(
            Tone::Odd,
            "is in no pool: no resource is for its class of device",
        ),
    };
    let mut text = format!("{id} {verdict}\n  {}\n", what.facts(node));
    text += &held(node, &id);
    let unhealthy = home.and_then(|pool| pool.unhealthy.get(&id));
    if let Some(why) = unhealthy {
        let why = paint.tone(Tone::Bad, &format!("unhealthy: {why}"));
        let _ = writeln!(text, "  {why}");
    }
    if let Some(why) = node.pools.in_use.get(&id) {
        let warning = format!("warning: the node uses it: {why}");
        let _ = writeln!(text, "  {}", paint.tone(Tone::Odd, &warning));
    }
    let findings = id.address().map(|address| node.owners.findings(address));
    let findings = findings.unwrap_or_default().into_iter();
    // The health states it already.
    for finding in findings.filter(|it| *it != Finding::Dirty || unhealthy.is_none()) {
        let _ = writeln!(text, "  {}", paint.tone(Tone::Bad, &finding.to_string()));
    }
    let Some(candidate) = what.candidate(node) else {
        return text;
    };
    for resource in &node.list.resources {
        let why = if is_of_other_class(&candidate, resource) {
            let class = candidate.class();
            format!("its selectors match, but `pciClasses` lacks {class}")
        } else if !candidate.is_for(resource) {
            format!("it is for {}", resource.device_type)
        } else if is_chosen(&candidate, resource) {
            match home {
                Some(home) if home.name != resource.name => {
                    format!("its selectors match, but {} comes first", home.name)
                }
                Some(_) | None => "its selectors match".to_owned(),
            }
        } else {
            nearest(&candidate, resource)
        };
        let _ = writeln!(text, "  {}: {why}", resource.name);
    }
    text
}

fn is_chosen(candidate: &Candidate<'_>, resource: &Resource) -> bool {
    let mut selectors = resource.selectors.iter();
    selectors.any(|selector| failing(candidate, selector).is_empty())
}

/// The conditions of a selector that a device does not meet.
fn failing<'a>(candidate: &Candidate<'_>, selector: &'a Selector) -> Vec<Condition<'a>> {
    let conditions = conditions(selector).into_iter();
    let failing = conditions.filter(|condition| !condition.matches(candidate));
    failing.collect()
}

/// The conditions that the device does not meet, of the selector with the fewest such conditions.
fn nearest(candidate: &Candidate<'_>, resource: &Resource) -> String {
    let selectors = resource.selectors.iter();
    let all = selectors.map(|selector| failing(candidate, selector));
    let Some((position, failing)) = all.enumerate().min_by_key(|(_, failing)| failing.len()) else {
        return "it has no selector".to_owned();
    };
    let which = if resource.selectors.len() > 1 {
        format!("selectors[{position}]: ")
    } else {
        String::new()
    };
    let failing = failing.iter();
    let texts = failing.map(|condition| format!("{} requires {condition}", condition.key()));
    format!("{which}{}", texts.collect::<Vec<_>>().join("; "))
}
