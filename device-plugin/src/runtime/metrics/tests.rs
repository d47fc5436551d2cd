//! The whole page of a small machine, and that each family appears once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use expect_test::expect;
use sriov_config::ResourceList;
use sriov_config::resource_list::{PfHealth, Publish, ResourceName};
use sriov_inventory::owners::{Holder, PodDevices, PodHolder};
use sriov_inventory::pool::{LeftOut, Pf, Pool, PoolDevice};
use sriov_inventory::unhealthy::Unhealthy;
use sriov_node::metrics::vf_traffic::VfTraffic;

use super::*;

const ID: &str = "0000:01:10.0";

fn page_of_a_small_machine() -> String {
    page_with(true)
}

fn page_with(has_exporter_names: bool) -> String {
    let name = ResourceName::new("x.y", "vf").unwrap();
    let pf = Pf {
        name: Some("pf0".parse().unwrap()),
        ..Pf::example("0000:01:00.0".parse().unwrap())
    };
    let device = PoolDevice {
        numa_node: Some(1),
        pf: Some(Arc::new(pf)),
        ..PoolDevice::example(ID.parse().unwrap())
    };
    let pools = Pools {
        pools: vec![Pool {
            name: name.clone(),
            pf_health: PfHealth::default(),
            publish: Publish::default(),
            additional_info: Arc::default(),
            devices: vec![device].into(),
            unhealthy: BTreeMap::from([("0000:01:10.1".parse().unwrap(), Unhealthy::Gone)]),
        }],
        left_out: BTreeMap::from([("0000:01:00.0".parse().unwrap(), LeftOut::PfWithVfs)]),
        in_use: BTreeMap::new(),
    };
    let holder = |pod: &str| {
        Holder::from(PodHolder {
            resource: "x.y/vf".into(),
            namespace: "default".into(),
            pod: pod.into(),
            container: "app".into(),
        })
    };
    let owners = Owners {
        pods: Some(PodDevices {
            holders: BTreeMap::from([(ID.parse().unwrap(), vec![holder("a"), holder("b")])]),
            allocatable: None,
        }),
        ..Owners::default()
    };
    let kubelet = SharedKubeletCounts::default();
    kubelet.of(&name, |counts| {
        counts.allocations.insert("OK", 2);
        counts.allocate_time.observe(Duration::from_micros(300));
        counts.streams = 1;
        counts.accepted = 1;
    });
    let text = r#"{"resourceList": [{"resourceName": "ok", "selectors": {"drivers": ["a"]}}, {"resourceName": "bad"}, {}]}"#;
    let config = ResourceList::parse(text, "x.y").unwrap();
    let mut counts = Counts::default();
    counts.read_config(Some(&config));
    let traffic = [VfTraffic {
        pf: "pf0".into(),
        index: 3,
        address: ID.into(),
        numa_node: None,
        counters: BTreeMap::from([("rx_bytes", 9), ("other", 1)]),
    }];
    page(&State {
        inventory: InventoryState {
            version: "0.1.0",
            pools: &pools,
            owners: &owners,
            counts: &counts,
            tasks: 7,
            is_ready: false,
        },
        kubelet: &kubelet.now(),
        process: Process {
            resident: Some(4096),
            ..Process::default()
        },
        vfs: VfState {
            pools: &pools,
            owners: &owners,
            traffic: &traffic,
            has_exporter_names,
        },
    })
}

#[test]
fn samples_of_a_small_machine() {
    let page = page_of_a_small_machine();
    let samples: Vec<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
        .collect();
    expect![[r#"
        sriov_device_plugin_build_info{version="0.1.0"} 1
        sriov_device_plugin_ready 0
        sriov_device_plugin_config_outdated 0
        sriov_device_plugin_config_valid 0
        sriov_device_plugin_pod_resources_up 1
        sriov_device_plugin_resource_unusable{resource="resourceList[2]"} 1
        sriov_device_plugin_resource_unusable{resource="x.y/bad"} 1
        sriov_device_plugin_devices{resource="x.y/vf"} 2
        sriov_device_plugin_devices_held{resource="x.y/vf"} 1
        sriov_device_plugin_devices_left_out{reason="pf_with_vfs"} 1
        sriov_device_plugin_device_unhealthy{resource="x.y/vf",device="0000:01:10.1",reason="gone"} 1
        sriov_device_plugin_device_finding{pci_address="0000:01:10.0",finding="held_twice"} 1
        sriov_device_plugin_scan_duration_seconds_sum 0
        sriov_device_plugin_scan_duration_seconds_count 0
        sriov_device_plugin_scan_failures_total 0
        sriov_device_plugin_tasks 7
        sriov_device_plugin_list_streams{resource="x.y/vf"} 1
        sriov_device_plugin_lists_sent_total{resource="x.y/vf"} 0
        sriov_device_plugin_registrations_total{resource="x.y/vf",result="accepted"} 1
        sriov_device_plugin_registrations_total{resource="x.y/vf",result="refused"} 0
        sriov_device_plugin_registrations_total{resource="x.y/vf",result="failed"} 0
        sriov_device_plugin_allocations_total{resource="x.y/vf",code="OK"} 2
        sriov_device_plugin_pre_start_findings_total{resource="x.y/vf"} 0
        sriov_device_plugin_allocate_duration_seconds_sum{resource="x.y/vf"} 0.0003
        sriov_device_plugin_allocate_duration_seconds_count{resource="x.y/vf"} 1
        process_resident_memory_bytes 4096
        sriov_vf_info{pf="pf0",vf="3",pci_address="0000:01:10.0",numa_node="",driver="igbvf",resource="x.y/vf"} 1
        sriov_kubepoddevice{pciAddr="0000:01:10.0",dev_type="x.y/vf",namespace="default",pod="a",container="app"} 1
        sriov_kubepoddevice{pciAddr="0000:01:10.0",dev_type="x.y/vf",namespace="default",pod="b",container="app"} 1
        sriov_vf_receive_bytes_total{pf="pf0",vf="3",pci_address="0000:01:10.0",numa_node="",namespace="default",pod="a",container="app"} 9
        sriov_vf_rx_bytes{pf="pf0",vf="3",pciAddr="0000:01:10.0",numa_node=""} 9"#]].assert_eq(&samples.join("\n"));
}

#[test]
fn names_of_the_exporter_can_be_left_out() {
    let page = page_with(false);
    assert!(page.contains("sriov_vf_receive_bytes_total"));
    for name in ["sriov_vf_rx_bytes", "sriov_kubepoddevice"] {
        assert!(!page.contains(name), "{page}");
    }
}

#[test]
fn each_family_appears_once_with_help_and_type() {
    let page = page_of_a_small_machine();
    let told: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let unique: BTreeSet<&str> = told.iter().copied().collect();
    assert_eq!(unique.len(), told.len(), "{told:?}");
    let own = [
        STREAMS,
        LISTS,
        REGISTRATIONS,
        ALLOCATIONS,
        PRE_START,
        ALLOCATE_TIME,
    ];
    let families = own.iter().chain(sriov_node::metrics::process::FAMILIES);
    let names = families.map(|family| family.name);
    let all: BTreeSet<&str> = names.chain(INVENTORY.names()).chain(vf::names()).collect();
    assert_eq!(unique, all);
}

#[test]
fn every_metric_is_documented() {
    let text = include_str!("../../../../docs/metrics.md");
    for family in page_of_a_small_machine().lines() {
        let name = family
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split(' ').next());
        let is_documented = |name| text.contains(&format!("`{name}`"));
        assert!(name.is_none_or(is_documented), "{family}");
    }
}
