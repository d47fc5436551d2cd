//! What a pod gets for the devices that kubelet allocates: environment and device nodes, in the formats that users' programs read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sriov_config::resources::Resource;
use sriov_device_info::DeviceInfo;
use sriov_device_info::info::Pci;
use sriov_host::snapshot::{PciFunction, SriovRole};

use crate::pools::PoolDevice;

/// A device as it is at the moment of the allocation.
#[derive(Clone, Debug)]
pub struct Allocated<'a> {
    /// As it is in the pool.
    pub device: &'a PoolDevice,
    /// As it is now.
    pub function: PciFunction,
    /// Name of its UIO device.
    pub uio: Option<String>,
}

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Environment.
    pub envs: BTreeMap<String, String>,
    /// Device nodes: path on the host and in the container.
    pub nodes: Vec<(String, String)>,
}

/// Puts the answer together; the order of the devices is that of the request.
pub fn answer(resource: &Resource, devices: &[Allocated<'_>]) -> Answer {
    let mut info = Map::new();
    let mut answer = Answer::default();
    for allocated in devices {
        let id = allocated.device.address.to_string();
        let mut providers = Map::from_iter([("generic".to_owned(), json!({ "deviceID": id }))]);
        let mut give = |host: String, container: String| {
            let node = (host, container);
            if !answer.nodes.contains(&node) {
                answer.nodes.push(node);
            }
        };
        let same = |path: String| (path.clone(), path);
        if let (true, Some(group)) = (is_vfio(allocated), allocated.function.iommu_group) {
            let in_container = format!("/dev/vfio/{}", group.number);
            let on_host = if group.noiommu {
                format!("/dev/vfio/noiommu-{}", group.number)
            } else {
                in_container.clone()
            };
            providers.insert(
                "vfio".to_owned(),
                json!({ "mount": "/dev/vfio/vfio", "dev-mount": in_container }),
            );
            give("/dev/vfio/vfio".to_owned(), "/dev/vfio/vfio".to_owned());
            give(on_host, in_container);
        }
        if let Some(uio) = &allocated.uio {
            let (host, container) = same(format!("/dev/{uio}"));
            providers.insert("uio".to_owned(), json!({ "mount": container }));
            give(host, container);
        }
        if allocated.device.vhost_net {
            providers.insert(
                "vhost".to_owned(),
                json!({ "net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun" }),
            );
            for path in ["/dev/vhost-net", "/dev/net/tun"] {
                let (host, container) = same(path.to_owned());
                give(host, container);
            }
        }
        let extra = extra(resource, &id);
        if !extra.is_empty() {
            providers.insert("extra".to_owned(), json!(extra));
        }
        info.insert(id, Value::Object(providers));
    }
    let ids: Vec<String> = devices
        .iter()
        .map(|allocated| allocated.device.address.to_string())
        .collect();
    let variable = resource.name.variable();
    answer
        .envs
        .insert(format!("{variable}_INFO"), Value::Object(info).to_string());
    answer.envs.insert(variable, ids.join(","));
    answer
}

/// The content of the device-info file.
pub fn device_info(allocated: &Allocated<'_>) -> DeviceInfo {
    let pf = match &allocated.function.role {
        SriovRole::Vf { pf, .. } => Some(pf.to_string()),
        SriovRole::Pf { .. } | SriovRole::None => None,
    };
    DeviceInfo::pci(Pci {
        pci_address: allocated.device.address.to_string(),
        pf_pci_address: pf,
        vhost_net: allocated
            .device
            .vhost_net
            .then(|| "/dev/vhost-net".to_owned()),
        ..Pci::default()
    })
}

/// What `additionalInfo` says: of all devices, and of this one, which wins.
fn extra<'a>(resource: &'a Resource, id: &str) -> BTreeMap<&'a str, &'a str> {
    let of = |key: &str| resource.additional_info.get(key).into_iter().flatten();
    of("*")
        .chain(of(id))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

fn is_vfio(allocated: &Allocated<'_>) -> bool {
    allocated.device.driver.contains("vfio")
}

#[cfg(test)]
mod tests {
    use sriov_config::ResourceList;
    use sriov_host::snapshot::{IommuGroup, PciClass, PciId};

    use super::*;

    fn resource() -> Resource {
        let text = r#"{"resourceList": [{"resourceName": "vf", "resourcePrefix": "x.y", "selectors": {"drivers": ["vfio-pci"]},
            "additionalInfo": {"*": {"token": "a", "k": "all"}, "0000:01:10.0": {"k": "one"}}}]}"#;
        ResourceList::parse(text, "").unwrap().resources.remove(0)
    }

    fn device(driver: &str, vhost_net: bool) -> PoolDevice {
        PoolDevice {
            address: "0000:01:10.0".parse().unwrap(),
            driver: driver.into(),
            numa_node: None,
            pf: None,
            vhost_net,
        }
    }

    fn allocated(device: &PoolDevice, noiommu: bool) -> Allocated<'_> {
        let function = PciFunction {
            address: device.address,
            vendor: PciId(0x8086),
            device: PciId(0x10ca),
            class: PciClass(0x02_0000),
            driver: Some(device.driver.clone()),
            numa_node: None,
            iommu_group: Some(IommuGroup {
                number: 12,
                noiommu,
            }),
            role: SriovRole::Vf {
                pf: "0000:01:00.0".parse().unwrap(),
                index: None,
            },
            netdevs: Vec::new(),
        };
        Allocated {
            device,
            function,
            uio: None,
        }
    }

    #[test]
    fn the_environment_is_what_users_programs_read() {
        let device = device("vfio-pci", false);
        let answer = answer(&resource(), &[allocated(&device, false)]);
        assert_eq!(answer.envs["PCIDEVICE_X_Y_VF"], "0000:01:10.0");
        let info: Value = serde_json::from_str(&answer.envs["PCIDEVICE_X_Y_VF_INFO"]).unwrap();
        assert_eq!(
            info,
            json!({ "0000:01:10.0": { "generic": { "deviceID": "0000:01:10.0" }, "extra": { "k": "one", "token": "a" },
                "vfio": { "mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/12" } } })
        );
        assert_eq!(
            answer.nodes,
            [
                ("/dev/vfio/vfio".into(), "/dev/vfio/vfio".into()),
                ("/dev/vfio/12".into(), "/dev/vfio/12".into())
            ]
        );
    }

    #[test]
    fn a_group_without_iommu_has_another_name_on_the_host_and_vhost_net_is_given_where_asked() {
        let device = device("mlx5_vfio_pci", true);
        let nodes = answer(&resource(), &[allocated(&device, true)]).nodes;
        assert!(nodes.contains(&("/dev/vfio/noiommu-12".into(), "/dev/vfio/12".into())));
        assert!(nodes.contains(&("/dev/vhost-net".into(), "/dev/vhost-net".into())));
    }

    #[test]
    fn the_file_names_the_pf() {
        let device = device("igbvf", false);
        let text = serde_json::to_string(&device_info(&allocated(&device, false))).unwrap();
        assert_eq!(
            text,
            r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:10.0","pf-pci-address":"0000:01:00.0"}}"#
        );
    }
}
