//! The variables of `dra-driver-sriov` (`pkg/devicestate`, `pkg/cdi` at commit cd9404f).

use std::collections::BTreeMap;

use sriov_host::PciAddress;

use crate::state::DeviceState;

/// The PCI address of the device whose name follows.
const DEVICE: &str = "SRIOVNETWORK_VF_DEVICE_";
/// The PCI addresses of all devices.
const ADDRESSES: &str = "SRIOVNETWORK_PCI_ADDRESSES";
/// The network that the device is for; empty when the parameters name none.
const NETWORK: &str = "SRIOVNETWORK_NET_ATTACH_DEF_NAME";

/// Provider and key of a value that the container also gets in `PCIDEVICE_<RESOURCE>_INFO`, and the end of its variable's name here.
const OF_NODES: [(&str, &str, &str); 6] = [
    ("vfio", "dev-mount", "VFIO_DEVICE"),
    ("rdma", "rdma_dev", "RDMA_DEVICE"),
    ("rdma", "uverbs", "RDMA_UVERB"),
    ("rdma", "umad", "RDMA_UMAD"),
    ("rdma", "issm", "RDMA_ISSM"),
    ("rdma", "rdma_cm", "RDMA_CM"),
];

/// Adds the variables that do not depend on a driver to the devices of a claim. A variable of the parameters with the same name stays.
pub(super) fn add(devices: &mut [DeviceState]) {
    let functions = devices.iter().filter(|device| is_function(device));
    let ids: Vec<&str> = functions.map(|device| device.id.as_str()).collect();
    let ids = ids.join(",");
    // A subfunction has no PCI address, and that driver has none.
    for device in devices.iter_mut().filter(|device| is_function(device)) {
        let network = device.network.as_ref().map(|network| network.name.clone());
        let of_device = format!("{DEVICE}{}", in_variable(device));
        for (name, value) in [
            (of_device, device.id.clone()),
            (ADDRESSES.to_owned(), ids.clone()),
            (NETWORK.to_owned(), network.unwrap_or_default()),
        ] {
            device.env.entry(name).or_insert(value);
        }
    }
}

/// The variables with paths of device nodes, for a device that has the variables of [`add`]. They are not stored, as a reboot may change a path.
pub(super) fn of_nodes(device: &DeviceState) -> BTreeMap<String, String> {
    let name = in_variable(device);
    if !device.env.contains_key(&format!("{DEVICE}{name}")) {
        return BTreeMap::new();
    }
    let providers = &device.share.providers;
    let variable = |(provider, key, end): (&str, &str, &str)| {
        let value = providers.get(provider)?.get(key)?.as_str()?;
        Some((format!("SRIOVNETWORK_{name}_{end}"), value.to_owned()))
    };
    OF_NODES.into_iter().filter_map(variable).collect()
}

fn is_function(device: &DeviceState) -> bool {
    device.id.parse::<PciAddress>().is_ok()
}

/// The name of a device as a part of a variable's name.
fn in_variable(device: &DeviceState) -> String {
    device.name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::examples;

    #[test]
    fn variables_name_the_nodes_of_a_device() {
        let [_, mut device] = <[DeviceState; 2]>::try_from(examples::claim().devices).unwrap();
        device.share.providers = serde_json::from_value(json!({
            "generic": { "deviceID": device.id },
            "vfio": { "mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/7" },
            "rdma": { "rdma_dev": "mlx5_2", "uverbs": "/dev/infiniband/uverbs2" },
        }))
        .unwrap();
        // The variables were not wished when the claim was prepared.
        assert_eq!(of_nodes(&device), BTreeMap::new());
        add(std::slice::from_mut(&mut device));
        let expected = [
            ("RDMA_DEVICE", "mlx5_2"),
            ("RDMA_UVERB", "/dev/infiniband/uverbs2"),
            ("VFIO_DEVICE", "/dev/vfio/7"),
        ]
        .map(|(end, value)| (format!("SRIOVNETWORK_0000_01_10_2_{end}"), value.to_owned()));
        assert_eq!(of_nodes(&device), BTreeMap::from(expected));
    }
}
