//! The formats that users' programs parse, for each kind of device.

use std::sync::Arc;

use sriov_config::resource_list::{PfHealth, Publish, ResourceName};
use sriov_host::sysfs::nodes::RdmaNodes;
use sriov_inventory::pool::{Extras, Pf};

use super::*;
use crate::grant::granted::{Granted, all_nodes, environment};

const ID: &str = "0000:01:10.0";

fn pool() -> Pool {
    let texts = |texts: &[(&str, &str)]| -> BTreeMap<String, String> {
        let texts = texts.iter();
        texts
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect()
    };
    let of_all = ("*".to_owned(), texts(&[("token", "a"), ("k", "all")]));
    let of_one = (ID.to_owned(), texts(&[("k", "one")]));
    Pool {
        name: ResourceName::new("x.y", "vf").unwrap(),
        pf_health: PfHealth::default(),
        publish: Publish::default(),
        additional_info: Arc::new(BTreeMap::from([of_all, of_one])),
        devices: Arc::default(),
        unhealthy: BTreeMap::new(),
    }
}

fn device(driver: &str, extras: Extras) -> PoolDevice {
    let pf = Pf {
        name: Some("pf0".parse().unwrap()),
        ..Pf::example("0000:01:00.0".parse().unwrap())
    };
    PoolDevice {
        driver: driver.into(),
        pf: Some(Arc::new(pf)),
        representor: Some("eth5".parse().unwrap()),
        extras,
        ..PoolDevice::example(ID.parse().unwrap())
    }
}

/// The grant of devices, without their files.
fn granted(pool: &Pool, devices: &[Allocated<'_>]) -> Vec<Granted> {
    let grant = |device: &Allocated<'_>| {
        let Share { providers, nodes } = share(pool, device).unwrap();
        Granted {
            id: device.device.id.clone(),
            providers,
            nodes,
            cdi_name: None,
        }
    };
    devices.iter().map(grant).collect()
}

fn allocated(device: &PoolDevice, group: Option<bool>, nodes: DeviceNodes) -> Allocated<'_> {
    let iommu_group = group.map(|noiommu| IommuGroup {
        number: 12,
        noiommu,
    });
    Allocated {
        device,
        iommu_group,
        nodes,
        has_rdma_cm: true,
    }
}

/// The providers other than `generic` and `extra`, and the nodes as `host>container`, or `path` when both are equal.
fn check(allocated: &Allocated<'_>, providers: &Value, nodes: &[&str]) {
    let share = share(&pool(), allocated).unwrap();
    let mut said = share.providers;
    assert_eq!(
        said.remove("generic"),
        Some(json!({ "deviceID": ID })),
        "generic"
    );
    assert_eq!(
        said.remove("extra"),
        Some(json!({ "k": "one", "token": "a" })),
        "extra"
    );
    assert_eq!(&Value::Object(said), providers);
    let given: Vec<String> = share
        .nodes
        .into_iter()
        .map(|DeviceNode { host, container }| {
            if host == container {
                host
            } else {
                format!("{host}>{container}")
            }
        })
        .collect();
    assert_eq!(given, nodes);
}

#[test]
fn the_environment_keeps_the_order_of_the_request() {
    let first = device("igbvf", Extras::default());
    let mut second = first.clone();
    second.id = "0000:01:10.2".parse().unwrap();
    let devices = [&second, &first].map(|device| allocated(device, None, DeviceNodes::default()));
    let granted = granted(&pool(), &devices);
    let environment = environment(&pool().name, &granted);
    assert_eq!(environment["PCIDEVICE_X_Y_VF"], "0000:01:10.2,0000:01:10.0");
    let info: Value = serde_json::from_str(&environment["PCIDEVICE_X_Y_VF_INFO"]).unwrap();
    assert_eq!(
        info,
        json!({ ID: { "generic": { "deviceID": ID }, "extra": { "k": "one", "token": "a" } },
            "0000:01:10.2": { "generic": { "deviceID": "0000:01:10.2" }, "extra": { "k": "all", "token": "a" } } })
    );
    assert_eq!(all_nodes(&granted), []);
}

#[test]
fn vfio_passes_the_group_and_the_iommufd_device() {
    let device = device("mlx5_vfio_pci", Extras::default());
    let group = json!({ "vfio": { "mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/12" } });
    check(
        &allocated(&device, Some(false), DeviceNodes::default()),
        &group,
        &["/dev/vfio/vfio", "/dev/vfio/12"],
    );
    check(
        &allocated(&device, Some(true), DeviceNodes::default()),
        &group,
        &["/dev/vfio/vfio", "/dev/vfio/noiommu-12>/dev/vfio/12"],
    );
    let cdev = |has_vfio_group| DeviceNodes {
        vfio_cdev: Some("vfio3".into()),
        has_vfio_group,
        ..DeviceNodes::default()
    };
    check(
        &allocated(&device, Some(false), cdev(true)),
        &json!({ "vfio": { "mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/12", "iommufd-mount": "/dev/iommu",
            "cdev-mount": "/dev/vfio/devices/vfio3" } }),
        &[
            "/dev/vfio/vfio",
            "/dev/vfio/12",
            "/dev/iommu",
            "/dev/vfio/devices/vfio3",
        ],
    );
    check(
        &allocated(&device, Some(false), cdev(false)),
        &json!({ "vfio": { "iommufd-mount": "/dev/iommu", "cdev-mount": "/dev/vfio/devices/vfio3" } }),
        &["/dev/iommu", "/dev/vfio/devices/vfio3"],
    );
}

#[test]
fn uio_vhost_net_and_vdpa_are_passed_by_their_nodes() {
    let both = device(
        "uio_pci_generic",
        Extras {
            vhost_net: true,
            ..Extras::default()
        },
    );
    let uio = DeviceNodes {
        uio: vec!["uio4".into()],
        ..DeviceNodes::default()
    };
    check(
        &allocated(&both, None, uio),
        &json!({ "uio": { "mount": "/dev/uio4" }, "vhost": { "net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun" } }),
        &["/dev/uio4", "/dev/vhost-net", "/dev/net/tun"],
    );
    for (kind, driver, providers, nodes, path) in [
        (
            VdpaType::Vhost,
            "vhost_vdpa",
            json!({ "vdpa": { "mount": "/dev/vhost-vdpa-0" } }),
            ["/dev/vhost-vdpa-0"].as_slice(),
            Some("/dev/vhost-vdpa-0"),
        ),
        (VdpaType::Virtio, "virtio_vdpa", json!({}), &[], None),
    ] {
        let device = device(
            "mlx5_core",
            Extras {
                vdpa: Some(kind),
                ..Extras::default()
            },
        );
        let vdpa = VdpaNode {
            name: "vdpa7".into(),
            driver: Some(driver.into()),
            vhost: path.map(|path| path.trim_start_matches("/dev/").to_owned()),
        };
        let nodes_now = DeviceNodes {
            vdpa: vec![vdpa],
            ..DeviceNodes::default()
        };
        let allocated = allocated(&device, None, nodes_now);
        check(&allocated, &providers, nodes);
        let info = serde_json::to_value(device_info(&allocated).unwrap()).unwrap();
        let mut vdpa = json!({ "parent-device": "vdpa7", "driver": driver.trim_end_matches("_vdpa"), "pci-address": ID,
            "pf-pci-address": "0000:01:00.0", "representor-device": "eth5" });
        if let Some(path) = path {
            vdpa["path"] = json!(path);
        }
        assert_eq!(
            info,
            json!({ "type": "vdpa", "version": "1.1.0", "vdpa": vdpa })
        );
    }
}

#[test]
fn all_rdma_nodes_are_passed_and_the_first_ones_are_named() {
    let device = device(
        "mlx5_core",
        Extras {
            rdma: true,
            ..Extras::default()
        },
    );
    let rdma = |number: u32| RdmaNodes {
        name: format!("mlx5_{number}"),
        nodes: [
            (RdmaKind::Uverbs, "uverbs"),
            (RdmaKind::Issm, "issm"),
            (RdmaKind::Umad, "umad"),
            (RdmaKind::Ucm, "ucm"),
        ]
        .map(|(kind, name)| (kind, format!("{name}{number}")))
        .to_vec(),
    };
    let nodes = DeviceNodes {
        rdma: vec![rdma(2), rdma(3)],
        ..DeviceNodes::default()
    };
    let allocated = allocated(&device, None, nodes);
    check(
        &allocated,
        &json!({ "rdma": { "rdma_dev": "mlx5_2", "uverbs": "/dev/infiniband/uverbs2", "umad": "/dev/infiniband/umad2",
            "issm": "/dev/infiniband/issm2", "rdma_cm": "/dev/infiniband/rdma_cm" } }),
        &[
            "uverbs2", "issm2", "umad2", "ucm2", "uverbs3", "issm3", "umad3", "ucm3", "rdma_cm",
        ]
        .map(|name| format!("/dev/infiniband/{name}"))
        .each_ref()
        .map(String::as_str),
    );
    assert_eq!(
        serde_json::to_value(device_info(&allocated).unwrap()).unwrap()["pci"]["rdma-device"],
        json!("mlx5_2,mlx5_3")
    );
}

#[test]
fn a_missing_node_is_an_error() {
    for (driver, extras, word) in [
        ("vfio-pci", Extras::default(), "no vfio device"),
        ("igb_uio", Extras::default(), "no uio device"),
        (
            "mlx5_core",
            Extras {
                rdma: true,
                ..Extras::default()
            },
            "no RDMA device",
        ),
        (
            "mlx5_core",
            Extras {
                vdpa: Some(VdpaType::Vhost),
                ..Extras::default()
            },
            "`vhost_vdpa`",
        ),
    ] {
        let device = device(driver, extras);
        let allocated = allocated(&device, None, DeviceNodes::default());
        let error = share(&pool(), &allocated).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn two_devices_of_one_group_share_its_node() {
    let device = device("vfio-pci", Extras::default());
    let one = || allocated(&device, Some(false), DeviceNodes::default());
    let granted = granted(&pool(), &[one(), one()]);
    assert_eq!(all_nodes(&granted).len(), 2);
}

#[test]
fn the_file_names_pf_representor_and_vhost_net() {
    let extras = Extras {
        vhost_net: true,
        ..Extras::default()
    };
    let device = device("igbvf", extras);
    let info = device_info(&allocated(&device, None, DeviceNodes::default())).unwrap();
    assert_eq!(
        serde_json::to_string(&info).unwrap(),
        r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0","vhost-net":"/dev/vhost-net","pf-pci-address":"0000:01:00.0","representor-device":"eth5"}}"#
    );
}

#[test]
fn a_subfunction_is_named_by_its_auxiliary_device() {
    let mut device = device(
        "mlx5_core.sf",
        Extras {
            rdma: true,
            ..Extras::default()
        },
    );
    device.id = "mlx5_core.sf.4".parse().unwrap();
    let nodes = DeviceNodes {
        rdma: vec![RdmaNodes {
            name: "mlx5_9".into(),
            nodes: vec![(RdmaKind::Uverbs, "uverbs9".into())],
        }],
        ..DeviceNodes::default()
    };
    let allocated = allocated(&device, None, nodes);
    assert_eq!(device_info(&allocated), Ok(None));
    let mut pool = pool();
    let own = BTreeMap::from([("k".to_owned(), "own".to_owned())]);
    let of_pf =
        BTreeMap::from([("k", "pf"), ("port", "p0")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    let additional_info = Arc::make_mut(&mut pool.additional_info);
    additional_info.extend([
        ("mlx5_core.sf.4".to_owned(), own),
        ("0000:01:00.0".to_owned(), of_pf),
    ]);
    let environment = environment(&pool.name, &granted(&pool, &[allocated]));
    assert_eq!(environment["PCIDEVICE_X_Y_VF"], "mlx5_core.sf.4");
    let info: Value = serde_json::from_str(&environment["PCIDEVICE_X_Y_VF_INFO"]).unwrap();
    let info = &info["mlx5_core.sf.4"];
    assert_eq!(info["generic"]["deviceID"], json!("mlx5_core.sf.4"));
    assert_eq!(info["rdma"]["uverbs"], json!("/dev/infiniband/uverbs9"));
    // Entries of the PF apply to its subfunctions as well, as in the Go plugin.
    assert_eq!(
        info["extra"],
        json!({ "k": "own", "port": "p0", "token": "a" })
    );
}
