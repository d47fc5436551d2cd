//! Devices that a resource selects and that have another PCI class: co-processors such as QAT (0b40) do not have the class of accelerators (12).

use std::collections::BTreeMap;
use std::fmt;

use sriov_config::resource_list::{DeviceType, Resource, Selector};
use sriov_host::snapshot::HostSnapshot;

use crate::candidate::{Candidate, is_of_class};
use crate::selector_match::conditions;

/// A class that a resource probably lacks in `pciClasses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassHint {
    /// Base class and subclass, for instance `0b40`.
    pub class: String,
    /// The devices of this class that the selectors match.
    pub devices: usize,
}

impl fmt::Display for ClassHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, devices } = self;
        write!(
            f,
            "its selectors match devices of class {class} ({devices}): set `pciClasses` to [\"{class}\"]"
        )
    }
}

/// The class of most devices that the selectors of a resource match and that are not of its class.
pub fn class_hint(snapshot: &HostSnapshot, resource: &Resource) -> Option<ClassHint> {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for function in snapshot.functions.values() {
        let candidate = Candidate::function(snapshot, function);
        if is_of_other_class(&candidate, resource) {
            *classes.entry(candidate.class()).or_default() += 1;
        }
    }
    let most = classes.into_iter().max_by_key(|(_, devices)| *devices);
    most.map(|(class, devices)| ClassHint { class, devices })
}

/// Whether only its class keeps a function from a resource without `pciClasses`.
pub fn is_of_other_class(candidate: &Candidate<'_>, resource: &Resource) -> bool {
    let can_have = resource.device_type != DeviceType::AuxNetDevice
        && resource.pci_classes.is_empty()
        && candidate.aux_type.is_none();
    can_have
        && !is_of_class(candidate.hardware, resource)
        && resource.selectors.iter().any(|selector| {
            let mut conditions = conditions(selector).into_iter();
            is_specific(selector) && conditions.all(|condition| condition.matches(candidate))
        })
}

/// Whether a selector names a kind of device; all devices of a vendor are of many classes.
fn is_specific(selector: &Selector) -> bool {
    !selector.devices.is_empty()
        || !selector.drivers.is_empty()
        || !selector.pci_addresses.is_empty()
}

#[cfg(test)]
mod tests {
    use sriov_config::ResourceList;
    use sriov_host::snapshot::{PciClass, PciFunction, PciId};

    use super::*;

    /// Two VFs of a QAT, and a bridge of the same vendor.
    fn machine() -> HostSnapshot {
        let function = |address: &str, device: u16, class: u32, driver: &str| PciFunction {
            device: PciId(device),
            class: PciClass(class),
            driver: Some(driver.to_owned()),
            ..PciFunction::example(address.parse().unwrap())
        };
        let functions = [
            function("0000:3d:01.0", 0x37c9, 0x0b_4000, "vfio-pci"),
            function("0000:3d:01.1", 0x37c9, 0x0b_4000, "vfio-pci"),
            function("0000:00:1f.0", 0x2918, 0x06_0100, "lpc_ich"),
        ];
        let functions = functions.map(|function| (function.address, function));
        HostSnapshot {
            functions: functions.into(),
            ..HostSnapshot::default()
        }
    }

    #[test]
    fn qat_as_accelerator_needs_its_class() {
        let hint = "its selectors match devices of class 0b40 (2): set `pciClasses` to [\"0b40\"]";
        for (resource, expected) in [
            (
                r#""deviceType": "accelerator", "selectors": {"vendors": ["8086"], "devices": ["37c9"]}"#,
                Some(hint),
            ),
            (
                r#""deviceType": "accelerator", "selectors": {"drivers": ["vfio-pci"]}"#,
                Some(hint),
            ),
            (
                r#""deviceType": "accelerator", "selectors": {"vendors": ["8086"]}"#,
                None,
            ),
            (
                r#""deviceType": "accelerator", "selectors": {"devices": ["37c8"]}"#,
                None,
            ),
            (
                r#""deviceType": "accelerator", "pciClasses": ["0b40"], "selectors": {"devices": ["37c9"]}"#,
                None,
            ),
        ] {
            let config = format!(r#"{{"resourceList": [{{"resourceName": "a", {resource}}}]}}"#);
            let config = ResourceList::parse(&config, "x.y").unwrap();
            let found = class_hint(&machine(), &config.resources[0]);
            let found = found.map(|hint| hint.to_string());
            assert_eq!(found.as_deref(), expected, "{resource}");
        }
    }
}
