//! The algebra of selectors on random machines: the meaning of a resource list follows from the meaning of each of its values.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed expectation panics"
)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use sriov_config::ResourceList;
use sriov_host::VfIndex;
use sriov_host::snapshot::{
    HostSnapshot, LinkType, Netdev, PciClass, PciFunction, PciId, SriovRole,
};
use sriov_inventory::assign::plan_pools;
use sriov_inventory::node_use::{NodeUse, NodeUses, Purpose};

type Ids = BTreeSet<String>;

fn function(address: &str, seed: u16, role: SriovRole, netdev: Option<String>) -> PciFunction {
    let pick = |shift: u16| seed >> shift & 1 == 1;
    let netdev = netdev.map(|name| Netdev {
        link_type: if pick(0) {
            LinkType::Ether
        } else {
            LinkType::Infiniband
        },
        ..Netdev::example(name.parse().unwrap())
    });
    PciFunction {
        vendor: PciId(if pick(1) { 0x8086 } else { 0x15b3 }),
        device: PciId(if pick(2) { 0x154c } else { 0x1018 }),
        class: PciClass(if pick(3) || pick(4) {
            0x02_0000
        } else {
            0x12_0000
        }),
        driver: (pick(5) || pick(6)).then(|| if pick(7) { "vfio-pci" } else { "iavf" }.to_owned()),
        role,
        netdevs: netdev.into_iter().collect(),
        acpi_index: pick(8).then(|| "1".to_owned()),
        rdma: if pick(9) {
            vec!["mlx5_0".to_owned()]
        } else {
            Vec::new()
        },
        ..PciFunction::example(address.parse().unwrap())
    }
}

/// Two PFs with up to five VFs each, and a NIC without SR-IOV.
fn any_machine() -> impl Strategy<Value = HostSnapshot> {
    let card = (any::<u16>(), prop::collection::vec(any::<u16>(), 0..5));
    (card.clone(), card, any::<u16>()).prop_map(|(first, second, other)| {
        let mut snapshot = HostSnapshot::default();
        let mut add = |function: PciFunction| snapshot.functions.insert(function.address, function);
        for (card, (seed, vfs)) in [first, second].into_iter().enumerate() {
            let pf = format!("0000:0{card}:00.0");
            let address = |index: usize| format!("0000:0{card}:10.{index}");
            let indices = (0..).zip(0..vfs.len());
            let all: BTreeMap<_, _> = indices
                .map(|(number, index)| (VfIndex::new(number), address(index).parse().unwrap()))
                .collect();
            for ((index, _), (position, seed)) in all.iter().zip(vfs.iter().enumerate()) {
                let role = SriovRole::Vf {
                    pf: pf.parse().unwrap(),
                    index: Some(*index),
                };
                add(function(&address(position), *seed, role, None));
            }
            let role = SriovRole::Pf {
                total_vfs: 7,
                vfs: all,
            };
            add(function(&pf, seed, role, Some(format!("pf{card}"))));
        }
        add(function(
            "0000:09:00.0",
            other,
            SriovRole::None,
            Some("eth9".to_owned()),
        ));
        snapshot
    })
}

/// A key with two values.
fn any_condition() -> impl Strategy<Value = (&'static str, [Value; 2])> {
    prop_oneof![
        Just(("vendors", ["8086", "15b3"])),
        Just(("devices", ["154c", "1018"])),
        Just(("drivers", ["iavf", "vfio-pci"])),
        Just(("acpiIndexes", ["1", "2"])),
        Just(("linkTypes", ["ether", "infiniband"])),
        Just(("pciAddresses", ["0000:00:10.1", "0000:01:10.0"])),
        Just(("pfNames", ["pf0#0,2-3", "pf0#1"])),
        Just(("pfNames", ["pf1", "PF0#4"])),
        Just(("pfNames", ["eth9", "pf1#0-7"])),
        Just(("rootDevices", ["0000:00:00.0#0-1", "0000:00:00.0#1-2"])),
    ]
    .prop_map(|(key, values)| (key, values.map(Value::from)))
}

fn any_selector() -> impl Strategy<Value = Value> {
    let conditions = prop::collection::vec((any_condition(), 1..4_u8), 0..4);
    (conditions, any::<bool>()).prop_map(|(conditions, is_rdma)| {
        let mut selector = json!({ "isRdma": is_rdma });
        for ((key, [a, b]), which) in conditions {
            selector[key] = match which {
                1 => json!([a]),
                2 => json!([b]),
                _ => json!([a, b]),
            };
        }
        selector
    })
}

/// The ids of each pool, for resources with these selectors.
fn pools(machine: &HostSnapshot, resources: &[Value]) -> Vec<Ids> {
    let resources: Vec<Value> = (0..)
        .zip(resources)
        .map(|(index, selectors): (u32, _)| json!({ "resourceName": format!("r{index}"), "selectors": selectors }))
        .collect();
    let text = json!({ "resourceList": resources }).to_string();
    let list = ResourceList::parse(&text, "x.y").unwrap();
    let node_use = NodeUse {
        purpose: Purpose::DefaultRoute,
        through: None,
    };
    let uplinks = NodeUses::from([("eth9".to_owned(), node_use)]);
    let plan = plan_pools(machine, &list, &uplinks);
    let ids = plan.pools.iter().map(|pool| {
        let ids: Vec<String> = pool
            .devices
            .iter()
            .map(|device| device.id.to_string())
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
        ids.into_iter().collect()
    });
    ids.collect()
}

fn alone(machine: &HostSnapshot, selectors: &Value) -> Ids {
    pools(machine, std::slice::from_ref(selectors)).remove(0)
}

proptest! {
    #[test]
    fn a_device_goes_to_the_first_resource_that_selects_it(
        machine in any_machine(), resources in prop::collection::vec(any_selector(), 1..5)
    ) {
        let mut taken = Ids::new();
        for (pool, selector) in pools(&machine, &resources).into_iter().zip(&resources) {
            let wanted = alone(&machine, selector);
            prop_assert_eq!(&pool, &wanted.difference(&taken).cloned().collect::<Ids>());
            taken.extend(pool);
        }
    }

    #[test]
    fn selectors_of_a_resource_add_up(machine in any_machine(), selectors in prop::collection::vec(any_selector(), 1..4)) {
        let each = selectors.iter().flat_map(|selector| alone(&machine, selector));
        prop_assert_eq!(alone(&machine, &json!(selectors)), each.collect::<Ids>());
    }

    #[test]
    fn all_conditions_of_a_selector_must_hold(machine in any_machine(), selector in any_selector()) {
        let mut holds = alone(&machine, &json!({}));
        for (key, value) in selector.as_object().unwrap() {
            let only = alone(&machine, &json!({ key.as_str(): value }));
            holds = holds.intersection(&only).cloned().collect();
        }
        prop_assert_eq!(alone(&machine, &selector), holds);
    }

    #[test]
    fn values_of_a_condition_add_up(machine in any_machine(), (key, [a, b]) in any_condition()) {
        let (first, second) = (alone(&machine, &json!({ key: [a] })), alone(&machine, &json!({ key: [b] })));
        let both = alone(&machine, &json!({ key: [a, b] }));
        prop_assert_eq!(both, first.union(&second).cloned().collect::<Ids>());
    }

    #[test]
    fn keys_that_name_a_pf_select_no_pf(
        machine in any_machine(), (key, values) in any_condition().prop_filter("names a PF", |(key, _)| key.starts_with("pf") || *key == "rootDevices")
    ) {
        for id in alone(&machine, &json!({ key: values })) {
            let function = &machine.functions[&id.parse().unwrap()];
            let is_pf = matches!(&function.role, SriovRole::Pf { .. });
            prop_assert!(!is_pf, "{id}");
        }
    }

    #[test]
    fn uplinks_pfs_with_vfs_and_driverless_devices_are_left_out(machine in any_machine()) {
        for id in alone(&machine, &json!({})) {
            let function = &machine.functions[&id.parse().unwrap()];
            let is_full = matches!(&function.role, SriovRole::Pf { vfs, .. } if !vfs.is_empty());
            prop_assert!(id != "0000:09:00.0" && !is_full && function.driver.is_some());
        }
    }
}
