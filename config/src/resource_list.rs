//! The device plugin's configuration: the resource list of the ConfigMap, a replacement for that of `sriov-network-device-plugin`.

mod choices;
mod keys;
mod name;
mod selector;
mod unmatchable;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sriov_host::PciAddress;

pub use self::choices::{AllocationPolicy, PfHealth, Publish};
use self::choices::{allocation_policy, pf_health, publish};
pub use self::keys::schema;
pub use self::name::{InvalidResourceName, ResourceName};
pub use self::selector::{NetSelector, Selector, VdpaType};
use crate::fields::{Fields, Findings};
use crate::places::Places;
use crate::{Finding, Mistakes, Position};

/// All resources of a configuration, in the order of the file: a device belongs to the first resource that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceList {
    /// Resources without a mistake; empty if the document lists none.
    pub resources: Vec<Resource>,
    /// Resources with a mistake; the others are served nevertheless.
    pub unusable: Vec<Unusable>,
    /// Warnings: unknown keys, selectors that match everything, conditions that nothing meets.
    pub warnings: Vec<Finding>,
}

/// A resource that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Prefix and name, if both are valid.
    pub name: Option<ResourceName>,
    /// Its mistakes, at least one.
    pub mistakes: Mistakes,
}

/// A document without a usable resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mistakes}")]
pub struct Refused {
    /// All mistakes, in the order of the file.
    pub mistakes: Mistakes,
    /// Warnings, in the order of the file.
    pub warnings: Vec<Finding>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Prefix and name.
    pub name: ResourceName,
    /// Kind of device.
    pub device_type: DeviceType,
    /// Whether NUMA nodes are withheld from the kubelet.
    pub exclude_topology: bool,
    /// Which devices are preferred.
    pub allocation_policy: AllocationPolicy,
    /// Condition of the PF for a healthy VF.
    pub pf_health: PfHealth,
    /// Through which front end pods get the devices.
    pub publish: Publish,
    /// First digits of the PCI classes that are selected; empty for the default classes of the device type.
    pub pci_classes: Vec<String>,
    /// A device is selected if one selector matches; the first match decides about its device nodes.
    pub selectors: Vec<Selector>,
    /// Texts for the environment of containers, by PCI address or `*`.
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

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetDevice => "netDevice",
            Self::Accelerator => "accelerator",
            Self::AuxNetDevice => "auxNetDevice",
        })
    }
}

impl ResourceList {
    /// Reads a configuration; `default_prefix` applies to resources without a prefix.
    ///
    /// # Errors
    /// All mistakes, if each resource has one; text that is not JSON is one mistake.
    pub fn parse(text: &str, default_prefix: &str) -> Result<Self, Refused> {
        // An empty file is a document without resources.
        let text = if text.trim().is_empty() { "null" } else { text };
        let value: Value = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        let mut findings = Findings {
            places: Places::of(text),
            ..Findings::default()
        };
        let mut list = Self {
            resources: Vec::new(),
            unusable: Vec::new(),
            warnings: Vec::new(),
        };
        list.read(&value, default_prefix, &mut findings);
        let is_empty = findings.mistakes.is_empty() && list.unusable.is_empty();
        list.warnings = findings.warnings;
        list.warnings.sort_by_key(|warning| warning.position);
        if list.resources.is_empty() && !is_empty {
            let unusable = list.unusable.into_iter();
            let mistakes = unusable.flat_map(|resource| resource.mistakes.0);
            return Err(Refused {
                mistakes: Mistakes(findings.mistakes.into_iter().chain(mistakes).collect()),
                warnings: list.warnings,
            });
        }
        Ok(list)
    }

    fn read(&mut self, value: &Value, default_prefix: &str, findings: &mut Findings) {
        const NO_RESOURCE: &str = "there is no resource: no device is advertised";
        if value.is_null() {
            findings.warning("document", NO_RESOURCE);
            return;
        }
        let Some(top) = Fields::of(value, "", findings) else {
            return;
        };
        top.warn_unknown(&keys::names(keys::TOP), keys::hint_top, findings);
        let path = top.path("resourceList");
        let values = match top.value("resourceList") {
            Some(Value::Array(values)) => values.as_slice(),
            // Go writes `null` for a list that was never filled; an absent key may be misspelt.
            None if top.has("resourceList") => &[],
            None => return findings.mistake(&path, "there must be a list of resources"),
            Some(other) => return findings.mistake(&path, format!("`{other}` is not a list")),
        };
        if values.is_empty() {
            findings.warning(&path, NO_RESOURCE);
        }
        let mut names = Names::default();
        for (position, value) in values.iter().enumerate() {
            let path = format!("{path}[{position}]");
            self.add(value, &path, default_prefix, &mut names, findings);
        }
    }

    /// The mistakes of all resources that are not served, in the order of the file.
    pub fn mistakes(&self) -> impl Iterator<Item = &Finding> {
        self.unusable
            .iter()
            .flat_map(|resource| &resource.mistakes.0)
    }

    fn add(
        &mut self,
        value: &Value,
        path: &str,
        default_prefix: &str,
        names: &mut Names,
        findings: &mut Findings,
    ) {
        let before = findings.mistakes.len();
        let fields = Fields::of(value, path, findings);
        let name = fields
            .as_ref()
            .and_then(|fields| resource_name(fields, default_prefix, findings));
        if let (Some(fields), Some(name)) = (&fields, &name) {
            names.ensure_unique(name, &fields.path("resourceName"), findings);
        }
        let resource = fields.and_then(|fields| resource(&fields, name.clone(), findings));
        let mut mistakes = findings.mistakes.split_off(before);
        mistakes.sort_by_key(|mistake| mistake.position);
        match resource {
            Some(resource) if mistakes.is_empty() => self.resources.push(resource),
            Some(_) | None => self.unusable.push(Unusable {
                name,
                mistakes: Mistakes(mistakes),
            }),
        }
    }
}

/// The resources so far, by their environment variables.
#[derive(Default)]
struct Names(BTreeMap<String, ResourceName>);

impl Names {
    /// The kubelet identifies a resource by its name, programs identify it by its environment variables.
    fn ensure_unique(&mut self, name: &ResourceName, path: &str, findings: &mut Findings) {
        let (variable, info) = (name.variable(), name.info_variable());
        let same = self.0.get(&variable).or_else(|| self.0.get(&info));
        match same {
            Some(other) if other == name => {
                findings.mistake(path, format!("another resource has the name `{name}`"));
            }
            Some(other) => findings.mistake(
                path,
                format!("`{name}` and `{other}` would share the environment variable {variable}"),
            ),
            None => {}
        }
        for variable in [variable, info] {
            self.0.entry(variable).or_insert_with(|| name.clone());
        }
    }
}

fn not_json(error: &serde_json::Error) -> Refused {
    let position = Position {
        line: error.line(),
        column: error.column(),
    };
    let message = error.to_string();
    let message = message.strip_suffix(&format!(" at {position}"));
    let finding = Finding {
        path: "document".to_owned(),
        position: Some(position),
        message: message.map_or_else(
            || format!("not JSON: {error}"),
            |message| format!("not JSON: {message}"),
        ),
    };
    Refused {
        mistakes: Mistakes(vec![finding]),
        warnings: Vec::new(),
    }
}

fn resource_name(
    fields: &Fields<'_>,
    default_prefix: &str,
    findings: &mut Findings,
) -> Option<ResourceName> {
    let prefix = fields
        .text("resourcePrefix", findings)
        .filter(|prefix| !prefix.is_empty())
        .unwrap_or(default_prefix);
    if fields.value("resourceName").is_none() {
        findings.mistake(&fields.path("resourceName"), "there must be a name");
    }
    let name = fields.text("resourceName", findings)?;
    ResourceName::new(prefix, name)
        .map_err(|errors| {
            for error in errors {
                findings.mistake(&fields.path(error.field()), error.to_string());
            }
        })
        .ok()
}

fn resource(
    fields: &Fields<'_>,
    name: Option<ResourceName>,
    findings: &mut Findings,
) -> Option<Resource> {
    fields.warn_unknown(&keys::names(keys::RESOURCE), keys::hint_resource, findings);
    let words = [
        ("netDevice", DeviceType::NetDevice),
        ("accelerator", DeviceType::Accelerator),
        ("auxNetDevice", DeviceType::AuxNetDevice),
    ];
    let device_type = fields.choice("deviceType", DeviceType::NetDevice, &words, findings);
    // The keys of a selector depend on the device type.
    let selectors = device_type.map(|device_type| selectors(fields, device_type, findings));
    let exclude_topology = fields.flag("excludeTopology", findings);
    let allocation_policy = allocation_policy(fields, findings);
    let pf_health = pf_health(fields, findings);
    let publish = publish(fields, name.as_ref(), findings);
    let pci_classes = pci_classes(fields, findings);
    let additional_info = additional_info(fields, findings);
    Some(Resource {
        name: name?,
        device_type: device_type?,
        exclude_topology,
        allocation_policy,
        pf_health,
        publish,
        pci_classes,
        selectors: selectors?,
        additional_info,
    })
}

fn pci_classes(fields: &Fields<'_>, findings: &mut Findings) -> Vec<String> {
    let mut classes = Vec::new();
    for (path, text) in fields.texts("pciClasses", findings) {
        let is_digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if is_digits && matches!(text.len(), 2 | 4 | 6) {
            classes.push(text.to_owned());
        } else {
            findings.mistake(
                &path,
                format!("`{text}` is not a PCI class: expected two, four or six lower-case hexadecimal digits, for instance `0b40`"),
            );
        }
    }
    classes
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
                "there must be at least one selector: without one no device is selected",
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
    let mut info: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let value = fields.value("additionalInfo");
    let path = fields.path("additionalInfo");
    let Some(devices) = value.and_then(|value| Fields::of_secret(value, &path, findings)) else {
        return info;
    };
    for (device, value, path) in devices.entries() {
        // Addresses are compared as numbers, whatever the case of their digits.
        let address = device.parse::<PciAddress>().ok();
        if device != "*" && address.is_none() && !is_auxiliary(device) {
            findings.warning(
                &path,
                "this is neither `*` nor a PCI address nor an auxiliary device, it has no effect",
            );
        }
        // `null` means absent.
        if value.is_null() {
            continue;
        }
        let Some(texts) = Fields::of_secret(value, &path, findings) else {
            continue;
        };
        let pairs = texts.entries().filter_map(|(key, value, path)| {
            let text = value.as_str();
            if text.is_none() && !value.is_null() {
                findings.mistake(&path, "this is not a string");
            }
            text.map(|text| (key.clone(), text.to_owned()))
        });
        let device = address.map_or_else(|| device.clone(), |address| address.to_string());
        info.entry(device).or_default().extend(pairs);
    }
    info
}

/// Names of auxiliary devices are `module.kind.id` (`include/linux/auxiliary_bus.h`).
fn is_auxiliary(text: &str) -> bool {
    matches!(
        text.split('.').collect::<Vec<_>>().as_slice(),
        [module, kind, id] if !module.is_empty() && !kind.is_empty() && id.parse::<u32>().is_ok()
    )
}

#[cfg(test)]
mod tests;
