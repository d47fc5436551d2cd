//! The device plugin's configuration: the resource list of the ConfigMap, drop-in for `sriov-network-device-plugin`.

mod name;
mod selector;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use self::name::{InvalidResourceName, ResourceName};
pub use self::selector::{NetSelector, Selector, VdpaType};
use crate::fields::{Fields, Findings};
use crate::{Finding, Mistakes};

/// All resources of a configuration, in the order of the file: the first that matches a device has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceList {
    /// The resources.
    pub resources: Vec<Resource>,
    /// What is suspicious but no mistake: unknown keys, selectors that match everything.
    pub warnings: Vec<Finding>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Prefix and name.
    pub name: ResourceName,
    /// Kind of device.
    pub device_type: DeviceType,
    /// Whether kubelet is not told of NUMA nodes.
    pub exclude_topology: bool,
    /// Which devices kubelet is told to prefer.
    pub allocation_policy: AllocationPolicy,
    /// A device is meant when one of these matches; the first that does decides on what is done with it.
    pub selectors: Vec<Selector>,
    /// Texts for the environment, by PCI address or `*`.
    pub additional_info: BTreeMap<String, BTreeMap<String, String>>,
}

/// Kind of device of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceType {
    /// Network functions: PFs and VFs of base class 02.
    #[default]
    NetDevice,
    /// Accelerators: base class 12.
    Accelerator,
    /// Auxiliary network devices: subfunctions.
    AuxNetDevice,
}

/// Which devices a container gets first, after those of one NUMA node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllocationPolicy {
    /// Of as few PFs as can be.
    #[default]
    Packed,
    /// Evenly over the PFs, the least used first.
    Spread,
    /// Each of another PF as far as there are PFs, for bonds.
    DistinctPf,
}

const TOP: &[&str] = &["resourceList"];
const RESOURCE: &[&str] = &[
    "resourceName",
    "resourcePrefix",
    "deviceType",
    "excludeTopology",
    "allocationPolicy",
    "selectors",
    "selectorObj",
    "selectorObjs",
    "additionalInfo",
];

impl ResourceList {
    /// Reads a configuration; a resource without prefix gets `default_prefix`.
    ///
    /// # Errors
    /// All mistakes at once; text that is not JSON is one mistake with line and column.
    pub fn parse(text: &str, default_prefix: &str) -> Result<Self, Mistakes> {
        let mut findings = Findings::default();
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                findings.mistake("document", format!("not JSON: {error}"));
                return Err(Mistakes(findings.mistakes));
            }
        };
        let mut resources = Vec::new();
        if let Some(top) = Fields::of(&value, "", &mut findings) {
            top.warn_unknown(TOP, &mut findings);
            let list = top
                .value("resourceList")
                .and_then(Value::as_array)
                .filter(|list| !list.is_empty());
            if list.is_none() {
                findings.mistake(
                    "resourceList",
                    "there must be a list with at least one resource",
                );
            }
            for (position, value) in list.into_iter().flatten().enumerate() {
                let path = format!("resourceList[{position}]");
                resources.extend(
                    Fields::of(value, &path, &mut findings)
                        .and_then(|fields| resource(&fields, default_prefix, &mut findings)),
                );
            }
        }
        ensure_unique(&resources, &mut findings);
        let Findings { mistakes, warnings } = findings;
        if mistakes.is_empty() {
            Ok(Self {
                resources,
                warnings,
            })
        } else {
            Err(Mistakes(mistakes))
        }
    }
}

fn resource(
    fields: &Fields<'_>,
    default_prefix: &str,
    findings: &mut Findings,
) -> Option<Resource> {
    fields.warn_unknown(RESOURCE, findings);
    let prefix = fields
        .text("resourcePrefix", findings)
        .filter(|prefix| !prefix.is_empty())
        .unwrap_or(default_prefix);
    let name = match fields
        .text("resourceName", findings)
        .map(|name| ResourceName::new(prefix, name))
    {
        Some(Ok(name)) => Some(name),
        Some(Err(error)) => {
            findings.mistake(&fields.path(error.field()), error.to_string());
            None
        }
        None => {
            if fields.value("resourceName").is_none() {
                findings.mistake(&fields.path("resourceName"), "there must be a name");
            }
            None
        }
    };
    let device_type = match fields.text("deviceType", findings) {
        None | Some("netDevice") => DeviceType::NetDevice,
        Some("accelerator") => DeviceType::Accelerator,
        Some("auxNetDevice") => DeviceType::AuxNetDevice,
        Some(other) => {
            findings.mistake(
                &fields.path("deviceType"),
                format!("`{other}` is not one of netDevice, accelerator, auxNetDevice"),
            );
            return None;
        }
    };
    Some(Resource {
        device_type,
        exclude_topology: fields.flag("excludeTopology", findings),
        allocation_policy: allocation_policy(fields, findings),
        selectors: selectors(fields, device_type, findings),
        additional_info: additional_info(fields, findings),
        name: name?,
    })
}

fn allocation_policy(fields: &Fields<'_>, findings: &mut Findings) -> AllocationPolicy {
    match fields.text("allocationPolicy", findings) {
        None | Some("packed") => AllocationPolicy::Packed,
        Some("spread") => AllocationPolicy::Spread,
        Some("distinct-pf") => AllocationPolicy::DistinctPf,
        Some(other) => {
            findings.mistake(
                &fields.path("allocationPolicy"),
                format!("`{other}` is not one of packed, spread, distinct-pf"),
            );
            AllocationPolicy::default()
        }
    }
}

/// `selectors` is an object or a list of objects.
fn selectors(
    fields: &Fields<'_>,
    device_type: DeviceType,
    findings: &mut Findings,
) -> Vec<Selector> {
    let path = fields.path("selectors");
    let read = |value: &Value, path: &str, findings: &mut Findings| {
        Fields::of(value, path, findings)
            .and_then(|fields| Selector::read(&fields, device_type, path, findings))
    };
    match fields.value("selectors") {
        Some(Value::Array(items)) if !items.is_empty() => {
            let numbered = items.iter().enumerate();
            numbered
                .filter_map(|(position, item)| read(item, &format!("{path}[{position}]"), findings))
                .collect()
        }
        Some(Value::Array(_)) | None => {
            findings.mistake(
                &path,
                "there must be at least one selector: without one no device is meant",
            );
            Vec::new()
        }
        Some(value) => read(value, &path, findings).into_iter().collect(),
    }
}

fn additional_info(
    fields: &Fields<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut info = BTreeMap::new();
    let Some(devices) = fields.object("additionalInfo", findings) else {
        return info;
    };
    for (device, value) in devices.entries() {
        let Some(texts) = Fields::of(value, &devices.path(device), findings) else {
            continue;
        };
        let pairs = texts.entries().filter_map(|(key, value)| {
            if let Some(text) = value.as_str() {
                Some((key.clone(), text.to_owned()))
            } else {
                findings.mistake(&texts.path(key), format!("`{value}` is not a string"));
                None
            }
        });
        info.insert(device.clone(), pairs.collect());
    }
    info
}

fn ensure_unique(resources: &[Resource], findings: &mut Findings) {
    let (mut names, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for (position, resource) in resources.iter().enumerate() {
        let path = format!("resourceList[{position}].resourceName");
        if !names.insert(&resource.name) {
            findings.mistake(
                &path,
                format!("there is another resource `{}`", resource.name),
            );
        } else if !variables.insert(resource.name.variable()) {
            findings.mistake(
                &path,
                format!(
                    "another resource has the same environment variable {}",
                    resource.name.variable()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
