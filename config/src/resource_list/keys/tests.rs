//! Compares the keys with the parser, and the documented schema with the keys.

use expect_test::expect_file;

use super::*;
use crate::ResourceList;
use crate::resource_list::{AllocationPolicy, NetSelector, PfHealth, Publish, Resource, Selector};

#[test]
fn documented_schema_is_up_to_date() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    expect_file!["../../../../docs/resource-list.schema.json"].assert_eq(&text);
}

/// Whether the schema allows a value; only the keywords that `properties` uses.
fn allows(schema: &Value, value: &Value) -> bool {
    if let Some(values) = schema.get("enum") {
        return values.as_array().unwrap().contains(value);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let Some(kinds) = schema.get("type") else {
        return true;
    };
    let items = schema.get("items");
    let mut all = value.as_array().into_iter().flatten();
    kinds.as_array().unwrap().contains(&json!(kind))
        && all.all(|item| item.is_string() || items.is_none())
}

/// Each key that the parser reads must be judged like the schema; a key that the parser ignored could hold anything.
#[test]
fn parser_and_schema_agree_on_each_key() {
    let ours = [
        "resourceName",
        "resourcePrefix",
        "selectors",
        "additionalInfo",
    ];
    for device_type in ALL {
        for (keys, is_selector) in [(RESOURCE, false), (SELECTOR, true)] {
            for key in keys.iter().filter(|key| key.of.contains(device_type)) {
                if ours.contains(&key.name) {
                    continue;
                }
                for value in [
                    json!(null),
                    json!(true),
                    json!(7),
                    json!("other"),
                    json!(""),
                    json!("virtio"),
                    json!("spread"),
                    json!("accelerator"),
                    json!([1]),
                    json!(["ether"]),
                    json!({}),
                ] {
                    let mut resource = json!({ "resourceName": "a", "deviceType": device_type.to_string(), "selectors": { "drivers": ["x"] } });
                    if *device_type == AuxNetDevice {
                        resource["selectors"]["auxTypes"] = json!(["sf"]);
                    }
                    let place = if is_selector {
                        &mut resource["selectors"]
                    } else {
                        &mut resource
                    };
                    place[key.name] = value.clone();
                    let text = json!({ "resourceList": [resource] }).to_string();
                    let is_about_it = |path: &str| path.contains(key.name);
                    let refused = match ResourceList::parse(&text, "x.y") {
                        Ok(list) => {
                            let warned = list.warnings.iter().any(|warning| {
                                is_about_it(&warning.path) && warning.message.contains("effect")
                            });
                            assert!(!warned, "the parser does not know {}", key.name);
                            false
                        }
                        Err(refused) => refused.mistakes.0.iter().any(|mistake| {
                            is_about_it(&mistake.path)
                                && mistake.message.contains("is not")
                                && !mistake.path.ends_with(']')
                        }),
                    };
                    let properties = properties(std::slice::from_ref(key));
                    let mut is_allowed = allows(&properties[key.name], &value);
                    // The parser reports an item under the item's own path.
                    is_allowed |= value == json!([1]) && matches!(key.kind, Kind::Texts);
                    assert_eq!(refused, !is_allowed, "{} {value}", key.name);
                }
            }
        }
    }
}

/// With all keys set, no field of a resource has its default: the parser reads no key that is missing in the list.
#[test]
fn each_field_has_its_key() {
    let text = r#"{"resourceList": [
        {"resourceName": "a", "resourcePrefix": "b", "deviceType": "netDevice", "excludeTopology": true, "allocationPolicy": "spread", "pfHealth": "up", "publish": "dra", "pciClasses": ["0b40"],
         "additionalInfo": {"*": {"a": "b"}}, "selectorObj": {}, "selectorObjs": [],
         "selectors": {"vendors": ["8086"], "devices": ["10ca"], "drivers": ["a"], "pciAddresses": ["0000:00:00.0"], "acpiIndexes": ["1"],
           "pfNames": ["a"], "rootDevices": ["0000:00:00.0"], "linkTypes": ["ether"], "ddpProfiles": ["a"], "pKeys": ["0x1"], "needVhostNet": true, "vdpaType": "vhost"}},
        {"resourceName": "b", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"], "isRdma": true}}]}"#;
    let list = ResourceList::parse(text, "x.y").unwrap();
    assert!(list.warnings.is_empty() && list.unusable.is_empty());
    let [a, b] = list.resources.as_slice() else {
        panic!("{list:?}")
    };
    let Resource {
        name,
        device_type,
        exclude_topology,
        allocation_policy,
        pf_health,
        publish,
        pci_classes,
        selectors,
        additional_info,
    } = a;
    assert_eq!(
        (name.to_string().as_str(), *device_type, *exclude_topology),
        ("b/a", NetDevice, true)
    );
    assert_eq!(
        (*allocation_policy, additional_info.len()),
        (AllocationPolicy::Spread, 1)
    );
    assert_eq!((*pf_health, pci_classes.len()), (PfHealth::Up, 1));
    assert_eq!(*publish, Publish::Dra);
    let Selector {
        vendors,
        devices,
        drivers,
        pci_addresses,
        acpi_indexes,
        net,
    } = &selectors[0];
    assert!(
        [vendors, devices, drivers, acpi_indexes]
            .iter()
            .all(|list| list.len() == 1)
            && pci_addresses.len() == 1
    );
    let NetSelector {
        pf_names,
        root_devices,
        link_types,
        ddp_profiles,
        pkeys,
        aux_types: _,
        is_rdma: _,
        need_vhost_net,
        vdpa_type,
    } = net;
    assert!(
        [link_types, ddp_profiles, pkeys]
            .iter()
            .all(|list| list.len() == 1)
    );
    assert!(
        pf_names.len() == 1 && root_devices.len() == 1 && *need_vhost_net && vdpa_type.is_some()
    );
    let net = &b.selectors[0].net;
    assert!(net.aux_types == ["sf"] && net.is_rdma);
    let known = TOP.len() + RESOURCE.len() + SELECTOR.len();
    assert_eq!(known, 27, "a new key needs its value above");
}
